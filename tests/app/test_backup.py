"""A backup is whole and consistent, or it is not there; so is a home folder that one is put back into."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.backup.archive import MANIFEST, BackupError
from app.backup.making import backup
from app.backup.restoring import restore
from app.home import HomeInUseError, claim_home
from app.settings import Settings
from tests.app.processes import perdure_process
from tests.app.service import StartService


def make_home(home: Path, database: Path, title: str, document: str) -> Settings:
    """A home with a chat, a document that is still to be read, and what is derived."""
    for folder in ("documents", "recall", "kv"):
        (home / folder).mkdir(parents=True)
    shutil.copy(database, home / "perdure.sqlite3")
    with closing(sqlite3.connect(home / "perdure.sqlite3")) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        add_session(connection, title)
        fill(connection, "documents", id=f"doc_{title}", name="a.txt", status="processing")
    (home / "documents" / f"doc_{title}").write_text(document)
    (home / "documents" / "doc_of_nobody").write_text("left over")
    return Settings(home=home)


def add_session(connection: sqlite3.Connection, title: str) -> None:
    fill(connection, "sessions", id=f"ses_{title}", title=title, memory='{"strategy": "buffer"}')


def fill(connection: sqlite3.Connection, table: str, **wanted: str) -> None:
    """A row with that, and anything where something must be."""
    filled: dict[str, Any] = {"owner": "local", **wanted}
    for _, name, kind, not_null, default, _ in connection.execute(f"PRAGMA table_info({table})"):
        if not_null and default is None and name not in filled:
            filled[name] = "2026-01-01 00:00:00" if "DATE" in kind else 0
    names = ", ".join(filled)
    marks = ", ".join("?" * len(filled))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(filled.values()))


@pytest.fixture
def old(tmp_path: Path, untouched_database: Path) -> Settings:
    return make_home(tmp_path / "old" / "home", untouched_database, "old", "an old document")


def titles(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "perdure.sqlite3")) as connection:
        return [title for (title,) in connection.execute("SELECT title FROM sessions ORDER BY title")]


def exported(client: httpx.Client) -> list[Any]:
    text = client.get("/v1/export").raise_for_status().text
    return [json.loads(line) for line in text.splitlines()]


def test_a_service_that_is_written_to_is_backed_up_and_comes_back_with_equal_exports(
    start_service: StartService, tmp_path: Path
) -> None:
    home = tmp_path / "busy"
    client = start_service(home=home)
    persona = client.post("/v1/personas", json={"name": "Anne", "instructions": "You are a pirate."}).json()
    ids = []
    for memory in ("summary_buffer", "facts", "combined"):
        body = {"user_id": "ann", "persona_id": persona["id"], "memory": {"strategy": memory}}
        ids.append(client.post("/v1/sessions", json=body).json()["id"])
        said = client.post(
            f"/v1/sessions/{ids[-1]}/messages", json={"content": "My name is Ann.", "max_tokens": 6}
        )
        assert said.is_success
    client.post("/v1/documents", files={"file": ("a.txt", b"Whales sing.")}).raise_for_status()
    before = exported(client)

    done = perdure_process("backup", str(tmp_path), PERDURE_HOME=str(home))
    assert done.returncode == 0, done.stderr
    [file] = tmp_path.glob("perdure-*.backup")
    assert str(file) in done.stdout
    assert file.stat().st_mode & 0o077 == 0, "what was said is for the user alone"

    stop = threading.Event()
    written: list[dict[str, Any]] = []

    def write() -> None:
        while not stop.is_set():
            told = {"messages": [{"role": "user", "content": f"number {len(written)}"}], "if_busy": "wait"}
            client.post(f"/v1/sessions/{ids[0]}/messages/append", json=told).raise_for_status()
            written.append(told)

    writer = threading.Thread(target=write)
    writer.start()
    while not written:
        pass
    least = len(written)
    backup(Settings(home=home), tmp_path / "busy.backup")
    stop.set()
    writer.join()
    assert len(written) > least, "nobody waits for a backup"

    restored = perdure_process("restore", str(file), PERDURE_HOME=str(tmp_path / "restored"))
    assert restored.returncode == 0, restored.stderr
    assert exported(start_service(home=tmp_path / "restored")) == before
    restore(Settings(home=tmp_path / "later"), tmp_path / "busy.backup", force=False)
    later = start_service(home=tmp_path / "later")
    kept = later.get(f"/v1/sessions/{ids[0]}/messages", params={"limit": 200}).json()["data"][2:]
    assert len(kept) >= least
    assert [message["content"] for message in kept] == [f"number {n}" for n in range(len(kept))]


def test_a_home_in_use_and_one_that_holds_something_are_left_alone(
    old: Settings, tmp_path: Path, untouched_database: Path
) -> None:
    file, _ = backup(old, tmp_path / "old.backup")
    other = make_home(tmp_path / "other" / "home", untouched_database, "other", "another document")
    done = perdure_process("restore", str(file), PERDURE_HOME=str(other.home))
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert "Traceback" not in done.stderr
    with claim_home(other.home), pytest.raises(HomeInUseError):
        restore(other, file, force=True)
    assert titles(other.home) == ["other"]
    restore(other, file, force=True)
    assert titles(other.home) == ["old"]
    assert [path.name for path in (other.home / "documents").iterdir()] == ["doc_old"]
    assert not (other.home / "recall").exists(), "an index of other messages is not kept"


def rewritten(file: Path, target: Path, **changes: Any) -> Path:
    """A backup that says something else of itself."""
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            content = source.read(name)
            if name == MANIFEST:
                content = json.dumps(json.loads(content) | changes).encode()
            archive.writestr(name, content)
    return target


def test_chats_in_postgresql_are_neither_backed_up_nor_restored_here(old: Settings, tmp_path: Path) -> None:
    file, _ = backup(old, tmp_path / "made")
    elsewhere = Settings(home=tmp_path / "home", database_url="postgresql://db.example/perdure")
    with pytest.raises(BackupError, match="pg_dump"):
        backup(elsewhere, tmp_path / "another")
    with pytest.raises(BackupError, match="pg_restore"):
        restore(elsewhere, file, force=False)
    assert not (tmp_path / "another").exists()


def test_a_backup_of_a_newer_version_is_refused_with_both_versions(old: Settings, tmp_path: Path) -> None:
    file, _ = backup(old, tmp_path / "old.backup")
    newer = rewritten(file, tmp_path / "newer", perdure="9.1.0", revision="9999_later")
    for path, said in (
        (newer, "made by Perdure 9.1.0, with the schema 9999_later"),
        (rewritten(file, tmp_path / "format", format=2), "use a newer one"),
        (rewritten(file, tmp_path / "path", files={"../x": {"bytes": 1, "sha256": ""}}), "no database"),
        (tmp_path / "none", "none"),
    ):
        with pytest.raises((BackupError, FileNotFoundError), match=re.escape(said)):
            restore(Settings(home=tmp_path / "new"), path, force=False)
        assert not (tmp_path / "new" / "perdure.sqlite3").exists()


def test_a_backup_of_an_earlier_schema_is_migrated(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine

    from app.storage.database import MIGRATIONS

    home = tmp_path / "early"
    home.mkdir()
    engine = create_engine(f"sqlite:///{home / 'perdure.sqlite3'}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    with closing(sqlite3.connect(home / "perdure.sqlite3")) as database, database:
        [(first,)] = database.execute("SELECT version_num FROM alembic_version")
        add_session(database, "early")
    file, manifest = backup(Settings(home=home), tmp_path / "early.backup")
    assert manifest.revision == first
    restore(Settings(home=tmp_path / "now"), file, force=False)
    with closing(sqlite3.connect(tmp_path / "now" / "perdure.sqlite3")) as database:
        [(now,)] = database.execute("SELECT version_num FROM alembic_version")
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    assert now > first
    assert "fact_watermarks" in tables
    assert titles(tmp_path / "now") == ["early"]


@pytest.fixture(scope="module")
def good_backup(tmp_path_factory: pytest.TempPathFactory, untouched_database: Path) -> bytes:
    folder = tmp_path_factory.mktemp("good")
    home = make_home(folder / "home", untouched_database, "old", "an old document")
    return backup(home, folder / "good.backup")[0].read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_backup_is_refused_or_gives_what_was_backed_up(
    good_backup: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    damaged = bytearray(good_backup)
    # Much of what can be damaged is in the manifest and the directory, at the end.
    near = data.draw(st.sampled_from([len(damaged), 2000]))
    place = len(damaged) - 1 - data.draw(st.integers(0, near - 1))
    if data.draw(st.booleans()):
        del damaged[place:]
    else:
        damaged[place] ^= data.draw(st.integers(1, 255))
    file, home = tmp_path / "damaged.backup", tmp_path / "home"
    file.write_bytes(damaged)
    shutil.rmtree(home, ignore_errors=True)
    try:
        restore(Settings(home=home), file, force=False)
    except BackupError:
        assert {path.name for path in home.iterdir()} <= {"perdure.lock"} if home.exists() else True
    else:
        assert titles(home) == ["old"]
        assert (home / "documents" / "doc_old").read_text() == "an old document"


def test_a_backup_that_puts_a_file_before_its_beginning_is_refused(
    good_backup: bytes, tmp_path: Path
) -> None:
    """Its directory says that it stands further behind than it does."""
    damaged, file = bytearray(good_backup), tmp_path / "damaged.backup"
    damaged[-4] += 16
    file.write_bytes(damaged)
    with pytest.raises(BackupError, match="is damaged"):
        restore(Settings(home=tmp_path / "home"), file, force=False)


@pytest.mark.parametrize("what", ["backup", "restore"])
def test_killed_at_any_step_nothing_is_half(
    what: str, tmp_path: Path, old: Settings, untouched_database: Path
) -> None:
    template = tmp_path / "template"
    make_home(template / "home", untouched_database, "new", "a new document")
    backup(old, template / "home.backup")
    command = [sys.executable, "-m", "tests.app.backup_worker", what, str(template), str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=os.getcwd())
    assert done.returncode == 0, done.stderr
    times = [json.loads(line) for line in done.stdout.splitlines()]
    of_old = (["old"], {"doc_old": "an old document"})
    of_new = (["new"], {"doc_new": "a new document"})
    for each in times:
        if what == "restore" or "partial" in each:
            each["documents"].pop("doc_of_nobody", None)
            assert (each["titles"], each["documents"]) in (of_old, of_new)
        assert (each["verdict"], each["hidden"]) == ("ok", [])
        assert each.get("partial", 0) == 0, "what a killed backup leaves goes with the next"
    if what == "restore":
        assert len(times) > 20
        assert times[-1]["titles"] == ["old"]
        assert times[0]["titles"] == ["new"]
        assert all(bool(each["derived"]) == (each["titles"] == ["new"]) for each in times)
    else:
        restored = [each for each in times if "partial" in each]
        assert len(restored) > 10
        assert (restored[0]["titles"], restored[-1]["titles"]) == (["old"], ["new"])
