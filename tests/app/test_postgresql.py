"""PostgreSQL: a whole chat on it, units of work that write at the same time, and a database that is away."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, text

from app.recall.shelving import shelve
from app.settings import Settings
from app.storage import postgresql
from app.storage.backend import DatabaseUnavailableError
from app.storage.database import Database, migrate
from app.storage.deletions import Deletions
from app.storage.documents import Documents
from app.storage.history import StoredHistory
from app.storage.lorebooks import SessionLore
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft, Messages
from app.storage.personas import Personas
from app.storage.recall_tables import DocumentRow, PassageRow, ShelfRow
from app.storage.sessions import Sessions
from app.storage.tables import MessageRow
from app.storage.token_index import bring_up
from memory.messages import Role
from memory.persona import Persona
from tests.app.conftest import RunningService, Work
from tests.app.postgres import PostgresServer
from tests.app.recall_parts import OWNER, new_chat, say
from tests.app.service import open_stream
from tests.app.test_storage import ByteEncoder

AT_ONCE = 12
SAID: list[tuple[Role, str]] = [("user", "Hello"), ("assistant", "Hi")]
ENCODER = ByteEncoder()


@pytest.fixture(scope="module")
def away_database(postgres: PostgresServer) -> str:
    """A database that nobody else uses: it is taken away in between."""
    return postgres.new_database()


@pytest.fixture(scope="module")
def service(
    running_service: RunningService, tmp_path_factory: pytest.TempPathFactory, away_database: str
) -> Iterator[httpx.Client]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), database_url=away_database)
    with running_service(settings) as client:
        yield client


def done(response: httpx.Response) -> Any:
    assert response.is_success, response.text
    return response.json() if response.content else None


def test_a_whole_chat_lives_in_postgresql(service: httpx.Client) -> None:
    persona = done(service.post("/v1/personas", json={"name": "Anne", "instructions": "You are Anne."}))
    given = {"persona_id": persona["id"], "user_id": "tom", "memory": {"strategy": "facts"}}
    chat = done(service.post("/v1/sessions", json=given))["id"]
    with open_stream(service, chat, content="My dog is called Rex 🐕.", max_tokens=8) as events:
        *_, (last, _) = events
    assert last == "finished"
    answered = done(
        service.post(f"/v1/sessions/{chat}/messages", json={"content": "Hello?", "max_tokens": 4})
    )
    first, reply, second, _ = done(service.get(f"/v1/sessions/{chat}/messages"))["data"]
    assert first["content"] == "My dog is called Rex 🐕."

    done(service.put(f"/v1/messages/{first['id']}/pin"))
    branch = done(service.post(f"/v1/sessions/{chat}/branch", json={"message_id": reply["id"]}))["id"]
    done(service.put(f"/v1/messages/{second['id']}", json={"content": "Hi?", "keep_following": True}))
    record = done(service.get(f"/v1/messages/{answered['message']['id']}/context"))
    assert {"persona", "turn"} <= {segment["kind"] for segment in record["segments"]}
    lore = {"keys": ["Rex"], "content": "Rex is a whippet."}
    done(service.post(f"/v1/sessions/{chat}/lorebook/entries", json=lore))
    document = {"file": ("vet.txt", b"The vet is open on Mondays.", "text/plain")}
    done(service.post("/v1/documents", files=document, data={"user_id": "tom"}))

    exported = service.get("/v1/export")
    assert exported.is_success
    assert len(done(service.post("/v1/import", content=exported.content))["sessions"]) == 2

    receipt = _receipt(service, service.delete(f"/v1/messages/{first['id']}"))
    assert receipt["stores"]["messages"] == {"removed": 8, "remaining": 0}, "both, branched, imported"
    said = done(service.get(f"/v1/sessions/{branch}/messages"))["data"]
    assert said == []
    receipt = _receipt(service, service.delete("/v1/users/tom"))
    assert all(store["remaining"] == 0 for store in receipt["stores"].values())
    assert done(service.get("/v1/sessions?user_id=tom"))["data"] == []


def _receipt(service: httpx.Client, response: httpx.Response) -> dict[str, Any]:
    receipt: dict[str, Any] = done(response)
    for _ in range(1000):
        if receipt["status"] == "done":
            return receipt
        receipt = done(service.get(f"/v1/deletions/{receipt['id']}"))
    raise AssertionError(receipt)


def test_a_document_whose_file_is_at_another_process_is_left_to_that_and_read_anew_if_it_is_gone(
    running_service: RunningService, postgres: PostgresServer, tmp_path: Path
) -> None:
    database_url, said = postgres.new_database(), b"The vet is open on Mondays."

    async def begin_elsewhere() -> None:
        database = Database(database_url)
        async with database.write() as session:
            await Documents(session, OWNER).create(
                "doc_elsewhere",
                user_id=None,
                name="vet.txt",
                media_type="text/plain",
                size=len(said),
                sha256=sha256(said).hexdigest(),
            )
        await database.close()

    asyncio.run(begin_elsewhere())
    with running_service(Settings(home=tmp_path / "home", database_url=database_url)) as client:
        assert done(client.get("/v1/documents/doc_elsewhere"))["status"] == "processing"
        read = done(client.post("/v1/documents", files={"file": ("vet.txt", said, "text/plain")}))
        assert (read["id"] != "doc_elsewhere", read["status"]) == (True, "ready")
        assert [each["id"] for each in done(client.get("/v1/documents"))["data"]] == [read["id"]]


def test_a_database_that_goes_away_is_named_and_used_again_when_it_is_back(
    service: httpx.Client, postgres: PostgresServer, away_database: str
) -> None:
    name = away_database.partition("@/")[2].partition("?")[0]
    chat = done(service.post("/v1/sessions", json={}))["id"]
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    postgres.run(cut)
    assert done(service.get(f"/v1/sessions/{chat}"))["id"] == chat, "on a new connection"
    postgres.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    postgres.run(cut)
    unready, refused = service.get("/readyz"), service.get(f"/v1/sessions/{chat}")
    assert (unready.status_code, refused.status_code) == (503, 503)
    assert f"/{name}" in unready.json()["detail"]
    assert refused.json()["type"] == "urn:perdure:problem:database-unavailable"
    postgres.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert service.get("/readyz").is_success
    done(service.post(f"/v1/sessions/{chat}/messages", json={"content": "Still there?", "max_tokens": 2}))


def test_a_database_that_is_away_at_the_start_is_named_without_its_password() -> None:
    url = "postgresql://tom:s3cret@127.0.0.1:1/chats?sslpassword=s3cret"
    with pytest.raises(DatabaseUnavailableError, match=r"tom:\*\*\*@127.0.0.1:1/chats: .*refused") as raised:
        migrate(url)
    assert "s3cret" not in str(raised.value)
    assert "s3cret" not in repr(Settings.model_validate({"database_url": url}))


def test_only_postgresql_is_taken_as_a_url() -> None:
    with pytest.raises(ValueError, match="should begin with postgresql://") as raised:
        Settings.model_validate({"database_url": "mysql://tom:s3cret@host/chats"})
    assert "s3cret" not in str(raised.value)


async def many(databases: list[Database], one: Callable[[Database, int], Awaitable[Any]]) -> list[Any]:
    turns = [one(databases[number % len(databases)], number) for number in range(AT_ONCE)]
    return list(await asyncio.gather(*turns))


def test_messages_stored_at_once_stand_one_behind_the_other(at_once: Callable[[Work], None]) -> None:
    async def work(databases: list[Database]) -> None:
        chat = await new_chat(databases[0])

        async def append(database: Database, number: int) -> None:
            async with database.write() as session:
                said = [MessageDraft("user", f"{number}?"), MessageDraft("assistant", f"{number}!")]
                await Messages(session, OWNER).append(chat, said)
                await Sessions(session, OWNER).touch(chat)

        await many(databases, append)
        async with databases[0].read() as session:
            rows = await Messages(session, OWNER).list(chat, after=None, limit=99, newest_first=False)
        assert [row.position for row in rows] == list(range(2 * AT_ONCE))
        assert [row.turn for row in rows] == [number // 2 for number in range(2 * AT_ONCE)]
        assert [row.parent_id for row in rows] == [None, *(row.id for row in rows)][: len(rows)]
        assert all(rows[at].content[:-1] == rows[at + 1].content[:-1] for at in range(0, len(rows), 2))

    at_once(work)


def test_alternatives_and_lore_made_at_once_have_numbers_of_their_own(
    at_once: Callable[[Work], None],
) -> None:
    async def work(databases: list[Database]) -> None:
        chat = await new_chat(databases[0])
        [_, reply] = await say(databases[0], chat, ("user", "Hello"), ("assistant", "Hi"))

        async def reply_again(database: Database, number: int) -> int:
            async with database.write() as session:
                stored = await Messages(session, OWNER).get(reply.id)
                assert stored is not None
                other = await MessageTree(session, OWNER).replace(
                    stored, MessageDraft("assistant", f"{number}"), keep_following=False
                )
                await SessionLore(session, OWNER).create(
                    chat, message_id=None, content=f"{number}", settings={}
                )
                return other.alternative

        assert sorted(await many(databases, reply_again)) == list(range(1, AT_ONCE + 1))
        async with databases[0].read() as session:
            rows = await Messages(session, OWNER).list(chat, after=None, limit=9, newest_first=False)
            assert [row.position for row in rows] == [0, 1], "one reply is in the chat"
            assert len(await SessionLore(session, OWNER).list(chat)) == AT_ONCE

    at_once(work)


def test_what_many_derive_at_once_while_the_chat_changes_is_derived_once(
    at_once: Callable[[Work], None],
) -> None:
    async def work(databases: list[Database]) -> None:
        chats = [await new_chat(databases[0], user_id=f"user {number % 2}") for number in range(4)]
        for chat in chats:
            await say(databases[0], chat, *SAID * 20)

        async def derive(database: Database, number: int) -> None:
            chat = chats[number % len(chats)]
            if number % 3 == 0:
                async with database.write() as session:
                    messages = Messages(session, OWNER)
                    path = await messages.list(chat, after=None, limit=99, newest_first=False)
                    if message := await messages.get(path[number].id):
                        draft = MessageDraft("user", "Good day")
                        await MessageTree(session, OWNER).replace(message, draft, keep_following=True)
            await bring_up(database, OWNER, chat, ENCODER, ENCODER.fingerprint)
            await shelve(database, OWNER, chat)

        await many(databases, derive)
        for chat in chats:
            await derive(databases[0], 1 + 3 * chats.index(chat) if chats.index(chat) else 4)
            async with databases[0].read() as session:
                rows = await Messages(session, OWNER).list(chat, after=None, limit=99, newest_first=False)
                history = await StoredHistory.open(session, OWNER, chat, ENCODER)
                ids = [len(ENCODER.encode_message("user", row.content)) for row in rows]
                assert history.total_tokens == sum(ids)
                standing = select(PassageRow).where(PassageRow.source == chat, PassageRow.is_gone.is_(False))
                passages = (await session.scalars(standing.order_by(PassageRow.number))).all()
                assert [passage.message_id for passage in passages] == [row.id for row in rows]
                assert len({passage.key for passage in passages}) == len(rows)
        async with databases[0].read() as session:
            places = select(func.count()).where(ShelfRow.owner == OWNER, ShelfRow.user_id.like("user %"))
            assert (await session.execute(places)).scalar_one() == 2

    at_once(work)


def test_the_same_document_stored_at_once_is_one(at_once: Callable[[Work], None]) -> None:
    async def work(databases: list[Database]) -> None:
        async def add(database: Database, number: int) -> None:
            async with database.write() as session:
                documents = Documents(session, OWNER)
                if await documents.same("tom", "0" * 64) is None:
                    await documents.create(
                        f"doc_{number}", user_id="tom", name="a", media_type="b", size=1, sha256="0" * 64
                    )

        await many(databases, add)
        async with databases[0].read() as session:
            count = select(func.count()).where(DocumentRow.sha256 == "0" * 64)
            assert (await session.execute(count)).scalar_one() == 1

    at_once(work)


def test_of_revisions_of_a_persona_made_at_once_one_is_the_next(at_once: Callable[[Work], None]) -> None:
    async def work(databases: list[Database]) -> None:
        async with databases[0].write() as session:
            before = await Personas(session, OWNER).create(Persona(name="Anne", instructions="You are Anne."))

        async def revise(database: Database, number: int) -> bool:
            persona = Persona(name="Anne", instructions=f"You are Anne {number}.")
            async with database.write() as session:
                return await Personas(session, OWNER).revise(before, persona) is not None

        assert sum(await many(databases, revise)) == 1

    at_once(work)


def test_a_persona_is_not_removed_from_under_a_chat_that_gets_it(at_once: Callable[[Work], None]) -> None:
    async def work(databases: list[Database]) -> None:
        async with databases[0].write() as session:
            anne = await Personas(session, OWNER).create(Persona(name="Anne", instructions="You are Anne."))

        async def begin_or_remove(database: Database, number: int) -> str:
            async with database.write() as session:
                personas = Personas(session, OWNER)
                if await personas.get(anne.id, to_remove=number % 2 == 1) is None:
                    return "is gone"
                if number % 2:
                    if await personas.sessions_using(anne.id):
                        return "in use"
                    await personas.remove(anne.id)
                    return "removed"
                await Sessions(session, OWNER).create(persona_id=anne.id, user_id=None, title=None, memory={})
                return "begun"

        found = await many(databases, begin_or_remove)
        assert ("removed" in found) != ("begun" in found)

    at_once(work)


def test_no_copy_that_is_made_while_a_message_is_deleted_stays(at_once: Callable[[Work], None]) -> None:
    async def work(databases: list[Database]) -> None:
        chat = await new_chat(databases[0])
        [said, _] = await say(databases[0], chat, ("user", "Quaggamarker"), ("assistant", "Hi"))

        async def branch_or_delete(database: Database, number: int) -> None:
            async with database.write() as session:
                if number == AT_ONCE // 2:
                    deletions = Deletions(session, OWNER)
                    await deletions.begin()
                    found = await Messages(session, OWNER).get(said.id)
                    assert found is not None
                    await deletions.delete_message(said.id, await deletions.with_copies(found))
                elif message := await Messages(session, OWNER).get(said.id):
                    row = await Sessions(session, OWNER).create(
                        persona_id=None, user_id="tom", title=None, memory={}, branched_from=message
                    )
                    await MessageTree(session, OWNER).copy_path(message, row.id)

        await many(databases, branch_or_delete)
        async with databases[0].read() as session:
            kept = select(func.count()).where(MessageRow.content.contains("Quaggamarker"))
            assert (await session.execute(kept)).scalar_one() == 0

    at_once(work)


async def vacuums(database: Database) -> int:
    """How often the table of messages has been vacuumed."""
    count = text("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'messages'")
    async with database.read() as session:
        return int((await session.execute(count)).scalar_one())


def test_rows_are_let_go_of_when_the_snapshots_that_see_them_have_ended(
    at_once: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "SCRUB_TRIES", 2)

    async def work(databases: list[Database]) -> None:
        chat = await new_chat(databases[0])
        await say(databases[0], chat, *SAID * 20)
        async with databases[1].read() as reader:
            assert await Sessions(reader, OWNER).get(chat) is not None
            async with databases[0].write() as session:
                await Sessions(session, OWNER).remove(chat)
            assert not await databases[0].scrub()
        assert await vacuums(databases[1]) == 0
        assert await databases[0].scrub()
        assert await vacuums(databases[2]) == 1

    at_once(work)
