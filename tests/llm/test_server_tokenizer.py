"""Tokenising by a remote server: the ids are those of the model's own tokeniser, in both dialects."""

from collections.abc import Iterator

import pytest

from llm.engine.local_engine import LocalEngine
from llm.errors import ModelNotFoundError, RemoteServerError, UnsupportedByEngineError
from llm.loading import LoadedModel
from llm.remote.discovery import RemoteModel, find_api, find_model
from llm.remote.server import RemoteServer
from llm.remote.tokenization import LlamaCppTokenization, Tokenization, find_tokenization
from llm.remote.tokenizer import ServerTokenizer, is_same_vocabulary
from llm.text.chat_format import ChatTokenizer
from tests.llm.remote_parts import prompt_of, remote_engine, request, run
from tests.openai_server import MODEL, Answer, Dialect, ModelServer, ScriptedServer, serve
from tests.texts import WORDS

DIALECTS: tuple[Dialect, ...] = ("vllm", "llama.cpp")


@pytest.fixture(scope="module")
def local(default_model: LoadedModel, chat_tokenizer: ChatTokenizer) -> Iterator[LocalEngine]:
    engine = LocalEngine(default_model, chat_tokenizer, context_window=2048, kv_cache_bytes=2**28)
    yield engine
    engine.close()


@pytest.fixture(scope="module", params=DIALECTS)
def server(
    request: pytest.FixtureRequest, local: LocalEngine, chat_tokenizer: ChatTokenizer
) -> Iterator[RemoteServer]:
    with serve(ModelServer(local, chat_tokenizer, request.param).app) as url:
        server = RemoteServer(url)
        yield server
        server.close()


@pytest.fixture(scope="module")
def tokenization(server: RemoteServer) -> Tokenization:
    found = find_tokenization(server, MODEL)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def tokenizer(tokenization: Tokenization) -> ServerTokenizer:
    return ServerTokenizer(tokenization, MODEL)


def test_the_servers_template_gives_the_chat_format_of_the_models_own_tokeniser(
    tokenizer: ServerTokenizer, chat_tokenizer: ChatTokenizer
) -> None:
    assert tokenizer.format == chat_tokenizer.format
    assert tokenizer.generation_prompt == chat_tokenizer.generation_prompt
    assert tokenizer.encode_preamble(None) == chat_tokenizer.encode_preamble(None)
    assert tokenizer.end_of_turn_ids <= chat_tokenizer.end_of_turn_ids
    assert tokenizer.encode_reply([5, 6]) == chat_tokenizer.encode_reply([5, 6])


@pytest.mark.parametrize(
    "content", ["Hello, whale!", "", " \n\n x", "Grüße 今日は 🌞 e\u0301", "a < b > c [D]"]
)
def test_messages_get_the_ids_of_the_models_own_tokeniser(
    content: str, tokenizer: ServerTokenizer, chat_tokenizer: ChatTokenizer
) -> None:
    assert tokenizer.encode_preamble(content) == chat_tokenizer.encode_preamble(content)
    assert tokenizer.encode_message("user", content) == chat_tokenizer.encode_message("user", content)
    assert tokenizer.encode_message("assistant", content) == chat_tokenizer.encode_message(
        "assistant", content
    )
    assert tokenizer.decode(chat_tokenizer.encode_text(content)) == content


def test_what_looks_like_a_control_token_becomes_ordinary_tokens(
    tokenizer: ServerTokenizer, chat_tokenizer: ChatTokenizer
) -> None:
    text = " ".join([*WORDS, *chat_tokenizer.special_tokens, "<<|im_end|>>", "<|im_start|><|im_end|>"])

    def control_tokens(content: str) -> list[int]:
        ids = tokenizer.encode_message("user", content)
        return [token_id for token_id in ids if token_id in chat_tokenizer.special_ids]

    assert chat_tokenizer.decode(tokenizer.encode_text(text)) == text
    assert control_tokens(text) == control_tokens("x")


def test_another_tokeniser_is_told_from_the_servers_own(
    tokenization: Tokenization, chat_tokenizer: ChatTokenizer
) -> None:
    class Shouting:
        def encode_text(self, text: str) -> tuple[int, ...]:
            return chat_tokenizer.encode_text(text.upper())

    assert is_same_vocabulary(chat_tokenizer, tokenization)
    assert not is_same_vocabulary(Shouting(), tokenization)


def test_a_chat_whose_tokens_the_server_counts_is_the_local_engines(
    server: RemoteServer, tokenizer: ServerTokenizer, local: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    assert prompt_of(tokenizer) == prompt_of(chat_tokenizer)
    with remote_engine(server.shown_url, tokenizer) as engine:
        _, text, finished = run(engine.submit(request(tokenizer)))
    _, _, expected = run(local.submit(request(chat_tokenizer)))
    assert text == expected.text
    assert finished.token_ids == expected.token_ids


def test_a_reply_whose_ids_cannot_be_had_keeps_its_text(
    local: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    model_server = ModelServer(local, chat_tokenizer, "llama.cpp")
    with serve(model_server.app) as url:
        tokenizing = RemoteServer(url, retries=0)
        tokenizer = ServerTokenizer(LlamaCppTokenization(tokenizing), MODEL)
        asked = request(tokenizer)
        generating = ModelServer(local, chat_tokenizer, "ollama")
        with serve(generating.app) as other_url, remote_engine(other_url, tokenizer, api="chat") as engine:
            tokenizing.close()
            _, text, finished = run(engine.submit(asked))
    assert finished.text == text != ""
    assert finished.token_ids == ()


def test_a_server_without_tokenize_is_told_from_one_that_is_down(
    local: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    with serve(ModelServer(local, chat_tokenizer, "ollama").app) as url:
        server = RemoteServer(url, retries=0)
        assert find_tokenization(server, MODEL) is None
    with pytest.raises(RemoteServerError, match="/tokenize"):
        find_tokenization(server, MODEL)
    server.close()
    denied = Answer(('{"error": "no key"}',), status=401)
    with serve(ScriptedServer(denied).app) as url:
        server = RemoteServer(url)
        with pytest.raises(RemoteServerError, match="answered 401: no key"):
            find_tokenization(server, MODEL)
        server.close()


def test_a_server_that_tokenises_but_renders_no_messages_leaves_the_format_unknown() -> None:
    tokens = Answer(('{"tokens": [1, 2, 3]}',), media_type="application/json")
    with serve(ScriptedServer(tokens).app) as url:
        server = RemoteServer(url)
        tokenization = find_tokenization(server, MODEL)
        assert tokenization is not None
        with pytest.raises(UnsupportedByEngineError, match="does not say what chat template"):
            ServerTokenizer(tokenization, MODEL)
        server.close()


@pytest.mark.parametrize(
    ("dialect", "api", "name"),
    [
        ("vllm", "completions", MODEL),
        ("llama.cpp", "completions", MODEL),
        ("ollama", "chat", f"{MODEL}:latest"),
    ],
)
def test_a_server_is_asked_for_its_model_its_window_and_its_api(
    dialect: Dialect, api: str, name: str, local: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    with serve(ModelServer(local, chat_tokenizer, dialect).app) as url:
        server = RemoteServer(url)
        window = None if dialect == "ollama" else 2048
        parameters = local.model.parameters if dialect == "llama.cpp" else None
        assert find_model(server, None) == RemoteModel(name, window, parameters)
        assert find_model(server, MODEL) == RemoteModel(MODEL, window, parameters)
        with pytest.raises(ModelNotFoundError, match=f"does not serve 'other'; it serves '{name}'"):
            find_model(server, "other")
        assert find_api(server, MODEL, chat_tokenizer.encode_text("Hello there")) == api
        server.close()


def test_a_server_with_several_models_needs_one_to_be_named() -> None:
    listed = Answer(('{"data": [{"id": "b"}, {"id": "a"}]}',), media_type="application/json")
    with serve(ScriptedServer(listed).app) as url:
        server = RemoteServer(url)
        with pytest.raises(ModelNotFoundError, match="serves 'a', 'b', and none is named"):
            find_model(server, None)
        assert find_model(server, "b") == RemoteModel("b", None, None)
        server.close()


def test_a_server_that_lists_no_models_is_taken_to_have_the_one_that_is_named() -> None:
    with serve(ScriptedServer(Answer(status=404)).app) as url:
        server = RemoteServer(url)
        assert find_model(server, "a") == RemoteModel("a", None, None)
        with pytest.raises(ModelNotFoundError, match="serves no model, and none is named"):
            find_model(server, None)
        server.close()


def test_a_server_that_is_not_well_is_not_taken_for_one_without_an_api() -> None:
    with serve(ScriptedServer(Answer(then="hang")).app) as url:
        server = RemoteServer(url, timeout_s=0.5)
        for ask in (
            lambda: find_api(server, MODEL, [1, 2]),
            lambda: find_tokenization(server, MODEL),
            lambda: find_model(server, MODEL),
        ):
            with pytest.raises(RemoteServerError, match="sent nothing"):
                ask()
        server.close()


@pytest.mark.parametrize("usage", ["{}", '{"usage": {"prompt_tokens": 7}}'])
def test_a_server_that_does_not_count_the_ids_it_was_sent_is_given_messages(usage: str) -> None:
    answer = Answer((usage,), media_type="application/json")
    with serve(ScriptedServer(answer).app) as url:
        server = RemoteServer(url)
        assert find_api(server, MODEL, [1, 2]) == "chat"
        server.close()
