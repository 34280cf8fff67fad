"""Keys and values on the disk come back after a restart, or are computed again, and go with their chat."""

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from llm.engine.blocks import Block
from llm.engine.interface import Finished, GenerationRequest, SamplingParameters, Started
from llm.engine.local_engine import LocalEngine
from llm.loading import LoadedModel, load_model
from llm.text.chat_format import ChatTokenizer
from tests.llm.tiny import random_ids

Start = Callable[..., LocalEngine]


@pytest.fixture
def start(tiny_model: LoadedModel, chat_tokenizer: ChatTokenizer, tmp_path: Path) -> Start:
    def start(
        loaded: LoadedModel = tiny_model, *, disk_bytes: int = 2**28, memory_bytes: int = 2**28
    ) -> LocalEngine:
        return LocalEngine(
            loaded,
            chat_tokenizer,
            context_window=2048,
            kv_cache_bytes=memory_bytes,
            kv_folder=tmp_path / "kv",
            kv_folder_bytes=disk_bytes,
        )

    return start


def turn(engine: LocalEngine, prompt: tuple[int, ...], chat: str) -> tuple[int, tuple[int, ...]]:
    """Cached tokens, and the reply's ids."""
    sampling = SamplingParameters(max_tokens=8, temperature=0)
    started, *_, last = engine.submit(GenerationRequest(prompt, sampling, "ann", chat))
    assert isinstance(started, Started)
    assert isinstance(last, Finished)
    return started.cached_tokens, last.token_ids


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "kv").rglob("*") if path.is_file()]


def blocks(folder: Path) -> list[Path]:
    return [path for path in files(folder) if path.parent.name == "blocks"]


def chats(folder: Path) -> list[Path]:
    return [path for path in files(folder) if path.parent.name == "chats"]


def save_now(engine: LocalEngine, pending: dict[str, list[Block]] | None = None) -> None:
    """What the engine's thread would do once its chats have been idle for a while."""
    assert engine._files is not None
    pending = engine.store.take_unsaved(0.0) if pending is None else pending
    for chat, chat_blocks in pending.items():
        engine._files.save(chat, chat_blocks)


def test_a_chat_goes_on_after_a_restart_from_what_it_had_computed(start: Start) -> None:
    prompt = random_ids(1, 700)
    engine = start()
    _, reply = turn(engine, prompt, "a")
    engine.close()
    restarted = start()
    whole_blocks = (len(prompt) - 1) // 16 * 16
    assert restarted.cached_tokens(prompt, "ann") >= whole_blocks
    cached, again = turn(restarted, prompt, "a")
    assert whole_blocks <= cached < len(prompt)
    assert again == reply
    restarted.close()


def test_another_owner_finds_nothing_on_the_disk(start: Start) -> None:
    prompt = random_ids(1, 100)
    engine = start()
    turn(engine, prompt, "a")
    engine.close()
    restarted = start()
    assert restarted.cached_tokens(prompt, "bob") == 0
    restarted.close()


def test_what_memory_has_no_room_for_is_found_on_the_disk(start: Start, tiny_model: LoadedModel) -> None:
    engine = start(memory_bytes=700 * tiny_model.decoder.kv_bytes_per_token)
    prompts = [random_ids(seed, 400) for seed in range(4)]
    first = [turn(engine, prompt, str(n))[1] for n, prompt in enumerate(prompts)]
    engine.close()
    again = start(memory_bytes=700 * tiny_model.decoder.kv_bytes_per_token)
    for number, prompt in enumerate(prompts):
        cached, reply = turn(again, prompt, str(number))
        assert cached >= 256
        assert reply == first[number]
    again.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(path.read_bytes()[:40] + b"\xff" + path.read_bytes()[41:]),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(max(path.parent.iterdir()).read_bytes()),
    ],
    ids=["empty", "cut", "header", "one bit", "gone", "another block"],
)
def test_a_damaged_block_is_computed_again(
    start: Start, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    prompt = random_ids(2, 300)
    engine = start()
    _, reply = turn(engine, prompt, "a")
    engine.close()
    for path in sorted(blocks(tmp_path))[:-1]:
        damage(path)
    restarted = start()
    assert turn(restarted, prompt, "a")[1] == reply
    restarted.close()
    after = start()
    assert after.cached_tokens(prompt, "ann") >= 288, "and it is kept again"
    after.close()


def test_other_weights_or_another_number_format_use_nothing_and_leave_nothing(
    start: Start, tiny_model_folder: Path, tmp_path: Path
) -> None:
    engine = start()
    prompt = random_ids(3, 100)
    turn(engine, prompt, "a")
    engine.close()
    assert blocks(tmp_path)
    other = start(load_model(str(tiny_model_folder), tiny_model_folder, dtype="bfloat16"))
    assert other.cached_tokens(prompt, "ann") == 0
    assert not blocks(tmp_path)
    other.close()


def test_a_deleted_chat_leaves_no_file_and_what_others_use_stays(start: Start, tmp_path: Path) -> None:
    persona = random_ids(4, 64)
    engine = start()
    turn(engine, (*persona, *random_ids(5, 100)), "a")
    turn(engine, (*persona, *random_ids(6, 100)), "b")
    engine.close()
    restarted = start()
    restarted.forget("a")
    assert restarted.cached_tokens((*persona, *random_ids(5, 100)), "ann") == 64
    assert restarted.cached_tokens((*persona, *random_ids(6, 100)), "ann") >= 160
    restarted.forget("b")
    assert files(tmp_path) == []
    restarted.close()
    assert files(tmp_path) == []


def test_a_block_shared_by_two_chats_goes_with_the_last(start: Start, tmp_path: Path) -> None:
    persona = random_ids(4, 64)
    engine = start()
    names = {}
    for chat, seed in (("a", 5), ("b", 6)):
        before = {path.name for path in blocks(tmp_path)}
        turn(engine, (*persona, *random_ids(seed, 100)), chat)
        save_now(engine)
        names[chat] = {path.name for path in blocks(tmp_path)} - before
    engine.forget("a")
    left = {path.name for path in blocks(tmp_path)}
    assert left > names["b"]
    assert len(left & names["a"]) == len(persona) // 16
    engine.forget("b")
    assert files(tmp_path) == []
    engine.close()


def test_a_chat_deleted_before_it_was_saved_is_never_written(start: Start, tmp_path: Path) -> None:
    engine = start()
    turn(engine, random_ids(7, 100), "a")
    pending = engine.store.take_unsaved(0.0)
    engine.forget("a")
    save_now(engine, pending)
    engine.close()
    assert files(tmp_path) == []


def test_the_disk_is_bounded_and_the_oldest_go_first(
    start: Start, tiny_model: LoadedModel, tmp_path: Path
) -> None:
    size = 500 * tiny_model.decoder.kv_bytes_per_token
    for seed in range(4):
        engine = start(disk_bytes=size)
        turn(engine, random_ids(seed, 200), str(seed))
        engine.close()
        assert sum(path.stat().st_size for path in blocks(tmp_path)) <= size
    last = start(disk_bytes=size)
    assert last.cached_tokens(random_ids(3, 200), "ann") >= 192
    assert last.cached_tokens(random_ids(0, 200), "ann") == 0
    last.close()


def test_chats_whose_blocks_were_all_evicted_leave_no_file(
    start: Start, tiny_model: LoadedModel, tmp_path: Path
) -> None:
    size = 500 * tiny_model.decoder.kv_bytes_per_token
    for life in range(2):
        engine = start(disk_bytes=size)
        for seed in range(4):
            turn(engine, random_ids(10 * life + seed, 200), f"{life} {seed}")
            save_now(engine)
        engine.close()
        there = {path.name for path in blocks(tmp_path)}
        assert 1 <= len(chats(tmp_path)) <= 3, "there is no room for more than two and a part"
        assert all(there & set(json.loads(path.read_bytes())) for path in chats(tmp_path))
    start(disk_bytes=0).close()
    assert files(tmp_path) == []


def test_a_disk_that_takes_nothing_any_more_is_still_read(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    prompt = random_ids(13, 100)
    engine = start()
    turn(engine, prompt, "a")
    engine.close()
    for damaged in blocks(tmp_path)[1::2]:
        damaged.write_bytes(b"nothing of the kind")
    engine = start()
    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", refused)
        patched.setattr(Path, "unlink", refused)
        cached, _ = turn(engine, prompt, "a")
        assert engine.stats.kv_blocks >= cached // 16
    engine.close()
    assert cached < 96


def test_a_full_disk_costs_the_blocks_and_keeps_nothing_half_written(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    engine = start()
    turn(engine, random_ids(12, 100), "a")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        save_now(engine)
    assert files(tmp_path) == []
    turn(engine, random_ids(12, 100), "a")
    engine.close()
    assert len(blocks(tmp_path)) >= 6, "they are written once there is room"


def test_files_are_for_their_user_alone(start: Start, tmp_path: Path) -> None:
    engine = start()
    turn(engine, random_ids(8, 100), "a")
    engine.close()
    for path in (tmp_path / "kv").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077


def test_what_was_half_written_when_the_process_died_is_removed(start: Start, tmp_path: Path) -> None:
    engine = start()
    turn(engine, random_ids(9, 100), "a")
    engine.close()
    folder = blocks(tmp_path)[0].parent
    (folder / ("ab" * 32)).write_bytes(b"of no chat")
    (folder / ("cd" * 32 + ".partial")).write_bytes(b"half")
    (folder.parent / "chats" / "x.json").write_text("{")
    restarted = start()
    assert restarted.cached_tokens(random_ids(9, 100), "ann") >= 96
    restarted.close()
    names = {path.name for path in files(tmp_path)}
    assert not names & {"ab" * 32, "cd" * 32 + ".partial", "x.json"}


@pytest.mark.parametrize(
    "kill",
    [
        lambda chat, _: chat.unlink(),
        lambda chat, _: chat.rename(f"{chat}.partial"),
        lambda _, its_blocks: [path.unlink() for path in its_blocks],
    ],
    ids=["blocks that no chat lists", "a chat's file without its name", "a chat's file without blocks"],
)
def test_a_start_removes_what_no_chat_could_delete_and_chats_without_blocks(
    start: Start, tmp_path: Path, kill: Callable[[Path, list[Path]], None]
) -> None:
    engine = start()
    turn(engine, random_ids(11, 100), "a")
    engine.close()
    (chat,) = chats(tmp_path)
    kill(chat, blocks(tmp_path))
    start().close()
    assert files(tmp_path) == []
