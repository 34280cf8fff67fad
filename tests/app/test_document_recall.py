"""Documents are recalled by whom they belong to, with where they are from, and not once they are deleted."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy

import httpx

from app.storage.database import Database
from app.storage.document_passages import DocumentPassages
from app.storage.documents import Documents
from app.storage.passages import StoredPassages
from app.storage.shelves import Shelves
from memory.recall.chunks import Piece, Place, Span
from memory.recall.passage import Passage, PassageKey
from tests.app.recall_parts import OWNER, Library, new_chat, say


@asynccontextmanager
async def library_in(folder: Path, empty_database: Path) -> AsyncIterator[Library]:
    path = folder / "perdure.sqlite3"
    copy(empty_database, path)
    database = Database(path)
    library = Library(database, folder)
    try:
        yield library
    finally:
        library.close()
        await database.close()


async def add(library: Library, document_id: str, texts: Sequence[str], user_id: str | None = None) -> None:
    pieces = [Piece(text, Place(("Deck",), Span("page", n, n))) for n, text in enumerate(texts, start=1)]
    async with library.database.write() as session:
        documents = Documents(session, OWNER)
        await documents.create(
            document_id, user_id=user_id, name="a.pdf", media_type="", size=1, sha256=document_id
        )
        row = await documents.finish(document_id, pieces, None)
        assert row is not None
        await DocumentPassages(session, OWNER).shelve(row)
    await index(library)


async def remove(library: Library, document_id: str) -> None:
    async with library.database.write() as session:
        assert await Documents(session, OWNER).remove(document_id)
        await DocumentPassages(session, OWNER).take_away(document_id)
    await index(library)


async def index(library: Library) -> None:
    for shelf_id in await library.shelves():
        await library.indexing.bring_up(OWNER, shelf_id)


async def seen_by(library: Library, user_id: str | None, keys: Sequence[PassageKey]) -> Sequence[Passage]:
    async with library.database.read() as session:
        scope = await Shelves(session, OWNER).of_documents(user_id)
        return await StoredPassages(session, OWNER).read(keys, scope)


def test_the_pieces_of_a_document_are_in_both_indexes_until_it_is_deleted(
    tmp_path: Path, empty_database: Path
) -> None:
    async def run() -> None:
        async with library_in(tmp_path, empty_database) as library:
            await add(library, "doc_1", ["wear a vest", "hold on"])
            await add(library, "doc_2", ["eat"])
            await library.check()
            [keys] = (await library.stored()).values()
            assert keys == {PassageKey("doc_1", 0), PassageKey("doc_1", 1), PassageKey("doc_2", 0)}
            [passage] = await seen_by(library, None, [PassageKey("doc_1", 1)])
            assert passage == Passage(PassageKey("doc_1", 1), "hold on", citation="a.pdf, Deck, page 2")
            await remove(library, "doc_1")
            await library.check()
            assert await seen_by(library, None, [PassageKey("doc_1", 1)]) == []
            await remove(library, "doc_2")
            await library.check()
            assert await library.shelves() == []

    asyncio.run(run())


def test_a_user_sees_everybodys_documents_and_no_other_users(tmp_path: Path, empty_database: Path) -> None:
    async def run() -> None:
        async with library_in(tmp_path, empty_database) as library:
            await add(library, "doc_all", ["of all"])
            await add(library, "doc_anna", ["of anna"], "anna")
            await add(library, "doc_tom", ["of tom"], "tom")
            keys = [PassageKey(name, 0) for name in ("doc_all", "doc_anna", "doc_tom")]
            seen = {
                user: {passage.key.source for passage in await seen_by(library, user, keys)}
                for user in (None, "anna", "tom", "eve")
            }
            assert seen == {
                None: {"doc_all"},
                "anna": {"doc_all", "doc_anna"},
                "tom": {"doc_all", "doc_tom"},
                "eve": {"doc_all"},
            }

    asyncio.run(run())


def test_a_chat_recalls_no_documents_and_documents_recall_no_chat(
    tmp_path: Path, empty_database: Path
) -> None:
    async def run() -> None:
        async with library_in(tmp_path, empty_database) as library:
            chat_id = await new_chat(library.database, user_id="tom")
            await say(library.database, chat_id, ("user", "a secret"), ("assistant", "kept"))
            await library.bring_up(chat_id)
            await add(library, "doc_tom", ["of tom"], "tom")
            await library.check()
            keys = [PassageKey(chat_id, 0), PassageKey("doc_tom", 0)]
            assert [each.text for each in await seen_by(library, "tom", keys)] == ["of tom"]
            async with library.database.read() as session:
                scope = await Shelves(session, OWNER).of_user("tom", None)
                found = await StoredPassages(session, OWNER).read(keys, scope)
            assert [each.text for each in found] == ["a secret"]

    asyncio.run(run())


def wait_until_found(client: httpx.Client) -> None:
    """Until all documents have been read and indexed."""
    while any(each["status"] == "processing" for each in client.get("/v1/documents").json()["data"]):
        time.sleep(0.05)
    while client.post("/v1/documents/search", json={"query": "fire"}).json()["behind"]:
        time.sleep(0.05)


def test_a_chat_is_told_what_documents_say_if_its_strategy_wants_it(client: httpx.Client) -> None:
    guide = b"# Safety\n\nIn a fire, wear the red vest.\n"
    document = client.post("/v1/documents", files={"file": ("guide.md", guide)}).json()
    wait_until_found(client)
    told = {}
    for documents in (True, False):
        memory = {"strategy": "vector", "documents": documents}
        session_id = client.post("/v1/sessions", json={"memory": memory}).json()["id"]
        asked = {"content": "What do I wear in a fire?", "max_tokens": 1}
        reply = client.post(f"/v1/sessions/{session_id}/messages", json=asked).json()["message"]
        told[documents] = f"/v1/messages/{reply['id']}/context"
    [segment] = [each for each in client.get(told[True]).json()["segments"] if each["kind"] == "recalled"]
    [passage] = segment["passages"]
    assert passage["citation"] == "guide.md, Safety, line 3"
    assert (passage["source"], passage["number"], passage["message_id"]) == (document["id"], 0, None)
    assert "[guide.md, Safety, line 3]" in segment["messages"][0]["content"]
    assert "In a fire, wear the red vest." in segment["messages"][0]["content"]
    assert all(each["kind"] != "recalled" for each in client.get(told[False]).json()["segments"])
    client.delete(f"/v1/documents/{document['id']}")
    [segment] = [each for each in client.get(told[True]).json()["segments"] if each["kind"] == "recalled"]
    assert "red vest" not in segment["messages"][0]["content"]


def test_a_question_finds_the_piece_that_answers_it_and_nothing_deleted(client: httpx.Client) -> None:
    guide = b"# Guide\n\n## Safety\n\nIn a fire, wear the red vest.\n\n## Food\n\nDinner is at eight.\n"
    document = client.post("/v1/documents", files={"file": ("guide.md", guide)}).json()
    private = client.post(
        "/v1/documents", files={"file": ("diary.md", b"The red vest is mine.")}, data={"user_id": "anna"}
    ).json()

    def search(**body: str) -> httpx.Response:
        while True:
            answer = client.post("/v1/documents/search", json={"query": "What do I wear in a fire?", **body})
            if not answer.is_success or answer.json()["behind"] == 0:
                return answer
            time.sleep(0.05)

    wait_until_found(client)
    found = search().json()
    assert found["degraded"] is None
    best = found["data"][0]
    assert best["citation"] == "guide.md, Guide > Safety, line 5"
    assert best["text"] == "In a fire, wear the red vest."
    assert {each["document_id"] for each in found["data"]} == {document["id"]}
    assert private["id"] in {each["document_id"] for each in search(user_id="anna").json()["data"]}
    client.delete(f"/v1/documents/{document['id']}")
    assert search().json()["data"] == []
    assert search(query=" ").json()["errors"][0]["field"] == "query"
