"""Whole runs with captured decode steps and without: the same logits and replies. On CUDA where it is."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from llm.engine.interface import Finished, GenerationRequest, SamplingParameters
from llm.engine.local_engine import LocalEngine
from llm.loading import LoadedModel, load_model
from llm.model import captured
from llm.model.captured import PATIENCE, CapturedDecode
from llm.model.decoder import Decoder, Span
from llm.model.kv_cache import KVCache
from llm.text.chat_format import ChatTokenizer
from llm.weights.safetensors_folder import load_decoder
from tests.llm.captures import DEVICES, NEEDS_CUDA, FakeCapture, capture_on, decode, filled
from tests.llm.tiny import random_ids, save_tiny


def decoders(folder: Path, family: str, device: torch.device) -> tuple[Decoder, Decoder]:
    """Two with the same weights, neither with graphs."""
    save_tiny(folder, family)
    both = tuple(load_decoder(folder, torch.float32, "sdpa", device) for _ in range(2))
    for decoder in both:
        decoder.decode_step = None
    return both[0], both[1]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_any_run_of_steps_gives_the_logits_it_gives_without_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, seed: int
) -> None:
    """Replies begin, decode, guess and reject tokens, end, and leave their caches to others."""
    monkeypatch.setattr(captured, "PATIENCE", 1)
    monkeypatch.setattr(captured, "MAX_GRAPHS", 3)
    decoder, plain = decoders(tmp_path, family, torch.device("cpu"))
    capture = FakeCapture()
    decoder.decode_step = CapturedDecode(decoder, capture)
    chance = random.Random(seed)
    running: list[tuple[KVCache, KVCache]] = []
    idle: list[tuple[KVCache, KVCache]] = []

    def compute(spans: Sequence[tuple[list[int], bool]]) -> None:
        ours, theirs = (
            [
                Span(ids, pair[which], "all", generated=generated)
                for pair, (ids, generated) in zip(running, spans, strict=True)
            ]
            for which in range(2)
        )
        torch.testing.assert_close(decoder(ours), plain(theirs), atol=1e-3, rtol=1e-3)

    def ids(count: int) -> list[int]:
        return [chance.randrange(250) for _ in range(count)]

    for _ in range(25):
        event = chance.random()
        if len(running) < 3 and event < 0.5:
            pair = idle.pop() if idle and event < 0.3 else (decoder.new_cache(), plain.new_cache())
            known = chance.randint(0, pair[0].length)
            for cache in pair:
                cache.truncate(known)
            running.append(pair)
            prompt = ids(chance.randint(1, 250))
            compute([*((ids(1), True) for _ in running[1:]), (prompt, False)])
        elif running and event > 0.8:
            ended = running.pop(chance.randrange(len(running)))
            if event > 0.9:
                idle.append(ended)
        running = [pair for pair in running if pair[0].length < 480]
        if running and chance.random() < 0.3:
            compute([(ids(chance.randint(1, 4)), True) for _ in running])
            for pair in running:
                kept = pair[0].length - chance.randint(0, 2)
                for cache in pair:
                    cache.truncate(kept)
        for _ in range(chance.randint(2, 6) if running else 0):
            compute([(ids(1), True) for _ in running])
    assert capture.replays > 30
    assert len(capture.held) <= 3


def replies(model: LoadedModel, tokenizer: ChatTokenizer) -> list[str]:
    """Greedy ones to four chats, some together, some after one another."""
    requests = [
        GenerationRequest(
            random_ids(n, 30 + 40 * n), SamplingParameters(max_tokens=20 + n, temperature=0), "ann", str(n)
        )
        for n in range(4)
    ]
    engine = LocalEngine(model, tokenizer, context_window=512, kv_cache_bytes=2**26)
    texts = []
    for part in (requests[:3], requests[3:], requests[:1]):
        for generation in [engine.submit(request) for request in part]:
            *_, last = generation
            assert isinstance(last, Finished)
            texts.append(last.text)
    engine.close()
    return texts


@pytest.mark.parametrize("device", DEVICES)
def test_an_engine_gives_the_replies_it_gives_without_graphs(
    tiny_model_folder: Path, chat_tokenizer: ChatTokenizer, device: torch.device
) -> None:
    model = load_model(str(tiny_model_folder), tiny_model_folder, device=device.type)
    model.decoder.decode_step = None
    expected = replies(model, chat_tokenizer)
    capture = capture_on(device)
    model.decoder.decode_step = CapturedDecode(model.decoder, capture)
    assert replies(model, chat_tokenizer) == expected
    assert capture.captures >= 2
    assert capture.replays > 20


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_graphs_go_with_their_caches_and_new_ones_take_their_place(
    tmp_path: Path, family: str, device: torch.device
) -> None:
    """On CUDA they share a pool of memory, which outlives them."""
    decoder, plain = decoders(tmp_path, family, device)
    capture = capture_on(device)
    decoder.decode_step = CapturedDecode(decoder, capture)
    for _ in range(3):
        ours, theirs = filled(decoder, 20, 240), filled(plain, 20, 240)
        for logits, expected in zip(decode(decoder, ours, 40), decode(plain, theirs, 40), strict=True):
            torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
    assert (capture.captures, capture.replays) == (6, 3 * (40 - 2 * PATIENCE))


def test_a_decoder_on_the_cpu_has_no_graphs(tiny_model: LoadedModel) -> None:
    assert tiny_model.decoder.decode_step is None


@NEEDS_CUDA
def test_a_decoder_on_cuda_has_graphs(tiny_model_folder: Path) -> None:
    model = load_model(str(tiny_model_folder), tiny_model_folder, device="cuda")
    assert isinstance(model.decoder.decode_step, CapturedDecode)
