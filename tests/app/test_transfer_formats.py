"""Other programs' files: what is taken in of them, and how what is wrong with one is named."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.transfer.archive import Archive, ChatArchive, TransferError
from app.transfer.formats import Format, read_file
from app.transfer.tree import spots

Json = dict[str, Any]


def read(value: Any, file_format: Any = "auto", *, lossy: bool = False) -> Archive:
    return read_file(json.dumps(value).encode(), file_format, lossy=lossy)


def lines(*values: Any) -> bytes:
    return b"\n".join(json.dumps(value).encode() for value in values)


def path(chat: ChatArchive) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in chat.messages if message.is_active]


SAID = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
SAID_PATH = [("system", "Be kind."), ("user", "Hi")]
LANGCHAIN = [("system", "Be kind."), ("human", "Hi")]


@pytest.mark.parametrize(
    ("file", "file_format"),
    [
        (json.dumps({"messages": SAID}).encode(), "openai"),
        (json.dumps({"messages": SAID, "model": "gpt"}, indent=2).encode(), "openai"),
        (json.dumps(SAID, indent=2).encode(), "openai"),
        (b"\xef\xbb\xbf" + json.dumps(SAID).encode(), "openai"),
        (lines({"messages": SAID}, {"messages": SAID}), "openai"),
        (
            json.dumps([{"type": kind, "data": {"content": text}} for kind, text in LANGCHAIN]).encode(),
            "pippagpt",
        ),
        (
            json.dumps([{"role": "human", "content": "Hi"}, {"role": "ai", "content": "Hello"}]).encode(),
            "pippagpt",
        ),
    ],
)
def test_a_file_is_recognised_by_how_it_begins(file: bytes, file_format: str) -> None:
    archive = read_file(file, "auto", lossy=False)
    assert archive.format == file_format
    assert len(archive.chats) == max(1, file.count(b'"messages"'))
    for chat in archive.chats:
        assert path(chat) in (SAID_PATH, [("user", "Hi"), ("assistant", "Hello")])


def test_parts_that_are_no_text_are_refused_by_name_or_left_out_and_counted() -> None:
    parts = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "text", "text": "a whale"},
    ]
    messages = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
        {"role": "assistant", "content": "I see.", "tool_calls": [], "refusal": None},
    ]
    with pytest.raises(TransferError, match="image_url") as refused:
        read({"messages": messages})
    assert refused.value.place == "messages.1.content.1"
    archive = read(messages, lossy=True)
    assert path(archive.chats[0]) == [
        ("system", "Be kind."),
        ("user", "Look:\na whale"),
        ("assistant", "I see."),
    ]
    assert archive.left_out == {"a part of type image_url": 1, "tool_calls": 1, "a message of role tool": 1}


def node(parent: str | None, *children: str, role: str = "", text: str = "", **message: Any) -> Json:
    said = {
        "author": {"role": role},
        "content": {"content_type": "text", "parts": [text]},
        "create_time": 1_700_000_000.5,
        **message,
    }
    return {"parent": parent, "children": list(children), "message": said if role else None}


CONVERSATION: Json = {
    "title": "Whales",
    "create_time": 1_700_000_000,
    "conversation_id": "abc",
    "current_node": "r2",
    "mapping": {
        "root": node(None, "sys"),
        "sys": node("root", "q", role="system", metadata={"is_visually_hidden_from_conversation": True}),
        "q": node("sys", "r1", "call", role="user", text="What is a whale?"),
        "r1": node("q", "more", role="assistant", text="A fish."),
        "more": node("r1", role="user", text="Sure?"),
        "call": node("q", "tool", role="assistant", content={"content_type": "code", "text": "search()"}),
        "tool": node("call", "r2", role="tool", text="mammal"),
        "r2": node("tool", role="assistant", text="A mammal.", metadata={"model_slug": "gpt-4"}),
    },
}


def test_a_conversation_of_chatgpt_keeps_its_tree_and_its_path() -> None:
    archive = read([CONVERSATION, CONVERSATION | {"title": None, "current_node": "more"}])
    assert archive.format == "chatgpt"
    first, second = archive.chats
    assert (first.session.title, first.source_id) == ("Whales", "abc")
    assert path(first) == [("user", "What is a whale?"), ("assistant", "A mammal.")]
    assert path(second) == [("user", "What is a whale?"), ("assistant", "A fish."), ("user", "Sure?")]
    assert [message.content for message in first.messages] == [
        "What is a whale?",
        "A fish.",
        "Sure?",
        "A mammal.",
    ]
    replies = [message for message in first.messages if message.parent_id == first.messages[0].id]
    assert [(message.alternative, message.model) for message in replies] == [(0, None), (1, "gpt-4")]
    assert archive.left_out == {"a message of type code": 2, "a message of role tool": 2}
    assert {spot.turn for spot in spots(first.messages).values()} == {0, 1}


def changed(**nodes: Any) -> list[Json]:
    return [CONVERSATION | {"mapping": CONVERSATION["mapping"] | nodes}]


@pytest.mark.parametrize(
    ("file", "place", "problem"),
    [
        (changed(q=node("r1", role="user", text="?")), "0.mapping.q", "circle"),
        (changed(q=node("none", role="user", text="?")), "0.mapping.q.parent", "no node"),
        (changed(q=7), "0.mapping.q", "object"),
        (changed(q=node("sys", "r1", "r1", role="user", text="?")), "0.mapping.q.children", "once"),
        (changed(q=node("sys", role="wizard", text="?")), "0.mapping.q.message.author.role", "one of"),
        (changed(q=node("sys", role="user", content="?")), "0.mapping.q.message.content", "object"),
        ([CONVERSATION | {"current_node": "none"}], "0.current_node", "no node"),
        ([CONVERSATION | {"mapping": []}], "0.mapping", "object"),
        ([CONVERSATION, 7], "1", "object"),
    ],
)
def test_a_broken_conversation_of_chatgpt_is_refused_with_the_place(
    file: Any, place: str, problem: str
) -> None:
    with pytest.raises(TransferError, match=problem) as refused:
        read(file)
    assert refused.value.place == place


TAVERN_HEAD = {
    "user_name": "Dad",
    "character_name": "Anne",
    "create_date": "2023-8-6 @21h 08m 44s 565ms",
    "chat_metadata": {},
}


def line(mes: str, **others: Any) -> Json:
    return {"name": "Anne", "is_user": False, "is_system": False, "mes": mes, **others}


def test_swipes_of_sillytavern_are_alternatives() -> None:
    swipes = {"swipe_id": 1, "swipes": ["Hm", "Hello", "Hey"], "send_date": "June 19, 2023 4:13pm"}
    archive = read_file(
        lines(
            TAVERN_HEAD,
            line("Hello, edited", **swipes),
            line("Hi", is_user=True, send_date=1_700_000_000_000),
            line("hidden", is_system=True),
            line("It rains.", extra={"type": "narrator"}, is_system=True),
            line(" "),
        ),
        "auto",
        lossy=False,
    )
    [chat] = archive.chats
    assert archive.format == "sillytavern"
    assert (chat.session.title, chat.session.user_name) == ("Anne", "Dad")
    assert str(chat.session.created_at) == "2023-08-06 21:08:44.565000+00:00"
    assert path(chat) == [
        ("assistant", "Hello, edited"),
        ("user", "Hi"),
        ("assistant", "hidden"),
        ("system", "It rains."),
    ]
    assert [message.content for message in chat.messages[:3]] == ["Hm", "Hello, edited", "Hey"]
    assert str(chat.messages[0].created_at) == "2023-06-19 16:13:00+00:00"
    assert [bool(message.marks) for message in chat.messages] == [False, False, False, False, True, False]
    assert archive.left_out == {"a message without text": 1}


@pytest.mark.parametrize(
    ("broken", "place"),
    [
        (line("a", swipe_id=2, swipes=["a", "b"]), "line 2.swipe_id"),
        (line("a", swipe_id=True, swipes=["a", "b"]), "line 2.swipe_id"),
        (line("a", swipes=[1]), "line 2.swipes"),
        (line("a", is_user="yes"), "line 2.is_user"),
        ({"name": "Anne"}, "line 2.mes"),
        ([], "line 2"),
        (line("a" * 262_145), "line 2.mes"),
    ],
)
def test_a_broken_line_of_sillytavern_is_refused_with_the_place(broken: Any, place: str) -> None:
    with pytest.raises(TransferError) as refused:
        read_file(lines(TAVERN_HEAD, broken), "auto", lossy=False)
    assert refused.value.place == place


HEADER = {"format": "perdure", "version": 1, "kind": "session"}
SESSION = {"type": "session", "id": "s"}
END = {"type": "end", "records": 3}


def message(name: str, parent: str | None = None, **others: Any) -> Json:
    said = {"type": "message", "id": name, "parent_id": parent, "alternative": 0}
    return said | {"is_active": True, "role": "user", "content": "x", **others}


TIME = "2024-01-01T00:00:00Z"


def fact(**others: Any) -> Json:
    told = {"user_id": None, "persona_id": None, "message_id": "a", "quote_start": 0, "quote_end": 1}
    told |= {"subject": "user", "key": "likes", "value": "x", "ends": None, "text": "x", "author": "rules"}
    return {"type": "fact", "id": "f", "said_at": TIME, "enters_at": 0, "created_at": TIME, **told, **others}


NOWHERE = {"message_id": None, "quote_start": None, "quote_end": None}
REFUSED = {"type": "refused_fact", "message_id": "a", "quote_start": 0, "quote_end": 2, "key": "likes"}
REFUSED |= {"value_digest": "0" * 64, "created_at": TIME}
SAMPLED = {"token_ids": [-1], "fingerprint": "x"}
STANDING = {"kind": "pinned"}
PIECE = {"type": "document_piece", "text": "x", "place": {"headings": [], "span": None}}


def document(name: str, **others: Any) -> Json:
    said: Json = {
        "type": "document",
        "id": name,
        "user_id": None,
        "name": "a.txt",
        "media_type": "text/plain",
    }
    said |= {"bytes": 1, "sha256": "0" * 64, "status": "ready", "pages": None, "created_at": TIME}
    return said | others


RECALLED = "line 3.context.segments.0.passages.0"


def recalling(**others: Any) -> list[Json]:
    """A reply whose context record says that it recalled a passage."""
    passage: Json = {
        "source": "s",
        "number": 0,
        "message_id": None,
        "turn": None,
        "speaker": "",
        "citation": "c",
    }
    passage |= {"said_at": None, "score": 1.0, "why": "w", "tokens": 1, "starts_at": -1, "characters": 1}
    segment: Json = {"kind": "recalled", "turn": None, "tokens": 1, "cached_tokens": 0, "reason": "r"}
    segment |= {"message_ids": [], "passages": [passage | others]}
    counts = {"context_window": 9, "prompt_tokens": 1, "reply_tokens": 1, "cached_tokens": 0}
    record: Json = {"strategy": {}, "persona": None, "segments": [segment], "left_out": [], **counts}
    return [SESSION, message("a", context=record), END | {"records": 2}]


@pytest.mark.parametrize(
    ("records", "place", "problem"),
    [
        ([SESSION, message("a"), message("b", "a")], "line 4", "cut off"),
        ([SESSION, message("a"), message("b", "a"), END | {"records": 4}], "line 5.records", "3 records"),
        ([SESSION, END, message("a"), END | {"records": 3}], "line 3", "behind the end"),
        ([message("a"), SESSION, message("b"), END], "line 2", "before any session"),
        ([SESSION, message("a"), message("a", "a"), END], "body", "twice"),
        ([SESSION, message("a", "b"), message("b", "a"), END], "line 2", "not before it"),
        ([SESSION, message("a", "a"), message("b"), END], "line 2", "not before it"),
        ([SESSION, message("a"), message("b"), END], "line 2", "alternative 0"),
        ([SESSION, message("a"), message("b", alternative=1), END], "line 2", "so is another"),
        ([SESSION, message("a", is_active=False), message("b", "a"), END], "line 2", "its parent is not"),
        ([SESSION | {"persona_id": "p"}, message("a"), message("b"), END], "line 2.persona_id", "not in"),
        ([SESSION, message("a", role="tool"), END], "line 3.role", "Input should be"),
        ([SESSION, message("a", sampled=SAMPLED), END], "line 3.sampled.token_ids.0", "greater"),
        ([SESSION, message("a", marks=[STANDING, STANDING]), END], "line 3", "one of a kind"),
        ([SESSION, message("a", usage={"seed": "x"}), END], "line 3.usage.prompt_tokens", "required"),
        ([SESSION, message("a", context={"segments": [{}]}), END], "line 3.context.strategy", "required"),
        ([SESSION, message("a", status="generating"), END], "line 3.status", "complete"),
        ([SESSION, {"type": "wizard"}, END], "line 3", "type"),
        ([SESSION | {"facts_watermark": 0}, END | {"records": 1}], "line 2.facts_watermark", "behind"),
        ([SESSION, message("a"), fact(message_id="b"), END], "line 2", "not there"),
        ([SESSION, message("a"), fact(quote_end=2), END], "line 2", "not in message 'a'"),
        ([SESSION, message("a"), fact(quote_end=0), END], "line 2", "not in message 'a'"),
        ([SESSION, message("a"), fact(quote_end=None), END], "line 4", "go together"),
        ([SESSION, message("a"), fact(**NOWHERE), END], "line 4", "only its owner"),
        ([SESSION, message("a"), fact(id="a"), END], "body", "twice"),
        ([SESSION, message("a"), REFUSED, END], "line 2", "not in message 'a'"),
        (recalling(said_at=7), f"{RECALLED}.said_at", "string"),
        (recalling(said_at="2024"), f"{RECALLED}.said_at", "iso"),
        (recalling(said_at="2024-01-01"), f"{RECALLED}.said_at", "zone"),
        (recalling(characters=-1), f"{RECALLED}.characters", "greater"),
        ([PIECE, END | {"records": 1}], "line 2", "before any document"),
        ([document("d"), END | {"records": 1}], "line 2", "has pieces if it is ready"),
        ([document("d", status="failed"), PIECE, END | {"records": 2}], "line 2", "pieces if it is ready"),
        ([document("d", sha256="x"), PIECE, END], "line 2.sha256", "match"),
        ([document("d"), PIECE | {"text": " "}, END], "line 3.text", "blank"),
        ([document("d"), PIECE, document("e"), PIECE, END | {"records": 4}], "line 4.sha256", "there twice"),
        ([document("d"), PIECE, document("d", user_id="u"), PIECE, END | {"records": 4}], "body", "twice"),
        ([], "body", "cut off"),
    ],
)  # fmt: skip
def test_a_broken_file_of_our_own_is_refused_with_the_place(
    records: list[Any], place: str, problem: str
) -> None:
    with pytest.raises(TransferError, match=problem) as refused:
        read_file(lines(HEADER, *records), "auto", lossy=False)
    assert refused.value.place == place


@pytest.mark.parametrize(
    ("file", "place", "problem"),
    [
        (b"", "body", "empty"),
        (b" \n \n", "body", "empty"),
        (b"\xff\xfe", "body", "UTF-8, from byte 0"),
        (b"7", "body", "none of the formats perdure, chatgpt"),
        (b"{}", "body", "none of the formats"),
        (b"[]", "body", "none of the formats"),
        (b'{"messages": [', "body", "line 1, column 15"),
        (b'{"messages": []}\n{"messages": [', "line 2", "not proper JSON"),
        (b'{"messages": [{"role": "user", "content": NaN}]}', "messages.0.content", "not finite"),
        (b'{"messages": [{"role": "user", "content": 1e999}]}', "messages.0.content", "not finite"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "messages.0.content", "surrogate"),
        (b'{"messages": [{"role": "user", "content": "a\\u0000"}]}', "messages.0.content", "NUL"),
        (b'{"messages": [{"role": "user", "content": 7}]}', "messages.0.content", "text or a list"),
        (b'{"messages": [7]}', "messages.0", "an object"),
        (b'{"messages": [{"role": "user", "content": ""}]}', "messages.0.content", "without text"),
        (b"[" * 100_000, "body", "not proper JSON"),
        (b"[" * 100 + b"]" * 100, ".".join(["0"] * 80), "80 deep"),
        (lines(HEADER | {"version": 2}, END), "line 1.version", "versions up to 1"),
    ],
)
def test_what_is_no_file_of_any_format_is_said_so_with_the_place(
    file: bytes, place: str, problem: str
) -> None:
    with pytest.raises(TransferError, match=problem) as refused:
        read_file(file, "auto", lossy=False)
    assert refused.value.place == place


JSONS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside, max_size=3),
    max_leaves=4,
)
FILES: list[tuple[Format, list[Any]]] = [
    ("openai", [{"messages": SAID}]),
    ("chatgpt", [[CONVERSATION]]),
    ("sillytavern", [TAVERN_HEAD, line("a", swipe_id=0, swipes=["a", "b"])]),
    ("pippagpt", [[{"type": "human", "data": {"content": "a"}}]]),
    ("perdure", [HEADER, SESSION, message("a", marks=[STANDING]), message("b", "a"), END]),
    ("perdure", [HEADER, SESSION | {"facts_watermark": 0}, message("a"), fact(), END]),
    ("perdure", [HEADER, *recalling()]),
    ("perdure", [HEADER, document("d"), PIECE, document("e", status="failed", sha256="1" * 64), END]),
]


@settings(max_examples=300, deadline=None)
@given(data=st.data(), file=st.sampled_from(FILES), strange=JSONS)
def test_a_file_with_something_strange_in_it_is_read_or_refused(
    data: st.DataObject, file: tuple[Format, list[Any]], strange: Any
) -> None:
    file_format, values = file[0], json.loads(json.dumps(file[1]))
    inside: Any = values
    while True:
        names = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        name = data.draw(st.sampled_from(names))
        if not inside[name] or not isinstance(inside[name], dict | list) or data.draw(st.booleans()):
            inside[name] = strange
            break
        inside = inside[name]
    try:
        archive = read_file(lines(*values), file_format, lossy=True)
    except TransferError as error:
        assert error.place
    else:
        for chat in archive.chats:
            spots(chat.messages)
