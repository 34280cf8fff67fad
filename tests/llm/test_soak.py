"""A long run, by `make soak`: ten thousand turns leave memory, blocks and slots where they were."""

import random
from pathlib import Path

import pytest

from llm.engine.interface import Finished, GenerationRequest, SamplingParameters
from llm.engine.local_engine import LocalEngine
from llm.loading import LoadedModel
from llm.text.chat_format import ChatTokenizer

TURNS = 10_000
WARM_UP = 2_000
CHATS = 60
MOST_GROWTH = 48 * 2**20


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_ten_thousand_turns_keep_memory_flat(
    tiny_model: LoadedModel, chat_tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    engine = LocalEngine(
        tiny_model,
        chat_tokenizer,
        context_window=1024,
        kv_cache_bytes=32 * 2**20,
        kv_folder=tmp_path / "kv",
        kv_folder_bytes=16 * 2**20,
    )
    chance = random.Random(0)
    persona = [chance.randint(17, 49151) for _ in range(64)]
    chats: dict[str, list[int]] = {}
    resident = 0
    for turn in range(TURNS):
        name = f"{chance.randint(0, CHATS)} of {turn // 500}"
        prompt = [*chats.get(name, persona), *(chance.randint(17, 49151) for _ in range(10))]
        sampling = SamplingParameters(max_tokens=chance.randint(1, 5), seed=turn)
        generation = engine.submit(GenerationRequest(tuple(prompt), sampling, "ann", name))
        if chance.random() < 0.05:
            generation.cancel()
        *_, last = generation
        assert isinstance(last, Finished)
        chats[name] = [*prompt, *last.token_ids] if len(prompt) < 400 else persona
        if chance.random() < 0.1:
            engine.prepare([chats[name]], "ann", name)
        if turn % 500 == 499:
            for old in chats:
                engine.forget(old)
            chats.clear()
        if turn == WARM_UP:
            resident = resident_bytes()
    assert resident_bytes() - resident < MOST_GROWTH
    stats = engine.stats
    assert (stats.running, stats.waiting, stats.waiting_tokens) == (0, 0, 0)
    assert (stats.kv_blocks, stats.kv_bytes, stats.kv_disk_bytes) == (0, 0, 0)
    print(f"{resident / 2**20:.0f} MiB after {WARM_UP} turns, {resident_bytes() / 2**20:.0f} after {TURNS}")
    engine.close()
