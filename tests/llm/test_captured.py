"""Captured decode steps: when there is a graph, when there is none, and always the same logits."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakSet

import pytest
import torch
from torch import Tensor

from llm.engine.interface import Finished, GenerationRequest, SamplingParameters
from llm.engine.local_engine import LocalEngine
from llm.loading import LoadedModel, load_model
from llm.model import captured
from llm.model.captured import MAX_GRAPHS, PATIENCE, CapturedDecode, CudaCapture, Replay
from llm.model.decoder import Decoder, Span
from llm.model.kv_cache import KVCache
from llm.text.chat_format import ChatTokenizer
from llm.weights.safetensors_folder import load_decoder
from tests.llm.tiny import random_ids, save_tiny, save_tiny_llama

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


class FakeCapture:
    """Captures as CUDA does, but for the graph: a replay runs the function again."""

    def __init__(self) -> None:
        self.captures = self.replays = 0
        self.held: WeakSet[Replay] = WeakSet()

    def __call__(self, step: Callable[[], Tensor]) -> Replay:
        self.captures += 1
        step()
        result = step()

        def replay() -> Tensor:
            self.replays += 1
            return result.copy_(step())

        self.held.add(replay)
        return replay


@pytest.fixture
def capture() -> FakeCapture:
    return FakeCapture()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_llama(folder)
    return load_decoder(folder, torch.float32, "sdpa")


@pytest.fixture
def decoder(plain: Decoder, capture: FakeCapture) -> Decoder:
    """With the weights of `plain`."""
    twin = Decoder(plain.config)
    twin.load_state_dict(plain.state_dict(), assign=True)
    twin.decode_step = CapturedDecode(twin, capture)
    return twin


def filled(decoder: Decoder, *lengths: int) -> list[KVCache]:
    caches = [decoder.new_cache() for _ in lengths]
    for length, cache in zip(lengths, caches, strict=True):
        decoder.extend([n * 7 % 250 for n in range(length)], cache, "none")
    return caches


def decode(decoder: Decoder, caches: Sequence[KVCache], steps: int) -> list[Tensor]:
    """The logits of so many steps, of tokens that only their places determine."""
    return [
        torch.cat(
            decoder([Span([(cache.length + 3) % 250], cache, "all", generated=True) for cache in caches])
        )
        for _ in range(steps)
    ]


def test_a_graph_is_captured_after_some_steps_and_then_replayed(
    decoder: Decoder, plain: Decoder, capture: FakeCapture
) -> None:
    ours, theirs = filled(decoder, 20, 5), filled(plain, 20, 5)
    for logits, expected in zip(decode(decoder, ours, 30), decode(plain, theirs, 30), strict=True):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert [cache.length for cache in ours] == [50, 35]
    assert (capture.captures, capture.replays) == (1, 30 - PATIENCE)


def test_logits_stay_as_they_are_when_the_graph_is_replayed(decoder: Decoder, capture: FakeCapture) -> None:
    caches = filled(decoder, 9)
    decode(decoder, caches, PATIENCE + 1)
    [first] = decoder([Span([1], caches[0], generated=True)])
    before = first.clone()
    decode(decoder, caches, 1)
    assert torch.equal(first, before)
    assert capture.replays == 3


def test_sequences_that_read_more_places_get_another_graph(
    decoder: Decoder, plain: Decoder, capture: FakeCapture
) -> None:
    ours, theirs = decoder.new_cache(room=512), plain.new_cache(room=512)
    for each, cache in ((decoder, ours), (plain, theirs)):
        each.extend([1] * 240, cache)
    for logits, expected in zip(decode(decoder, [ours], 30), decode(plain, [theirs], 30), strict=True):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert (capture.captures, capture.replays, len(capture.held)) == (2, 30 - 2 * PATIENCE, 2)


def test_a_cache_that_moves_takes_its_graphs_along(decoder: Decoder, capture: FakeCapture) -> None:
    first, second = filled(decoder, 20, 20)
    decode(decoder, [first], PATIENCE + 1)
    decode(decoder, [second], PATIENCE + 1)
    assert len(capture.held) == 2
    first.reserve(300)
    decode(decoder, [second], 1)
    assert len(capture.held) == 1
    decode(decoder, [first], PATIENCE + 1)
    assert (capture.captures, len(capture.held)) == (3, 2)


def test_a_cache_that_is_gone_takes_its_graphs_along(decoder: Decoder, capture: FakeCapture) -> None:
    first, second = filled(decoder, 20, 20)
    decode(decoder, [first, second], PATIENCE + 1)
    decode(decoder, [second], PATIENCE + 1)
    del first
    decode(decoder, [second], 1)
    assert (capture.captures, len(capture.held)) == (2, 1)


def test_no_more_graphs_are_kept_than_the_limit_and_those_used_last(
    decoder: Decoder, capture: FakeCapture
) -> None:
    caches = filled(decoder, *[3] * (MAX_GRAPHS + 1))
    for cache in caches:
        decode(decoder, [cache], PATIENCE + 1)
        decode(decoder, caches[:1], 1)
    assert (capture.captures, len(capture.held)) == (MAX_GRAPHS + 1, MAX_GRAPHS)
    decode(decoder, caches[:1], 1)
    assert capture.captures == MAX_GRAPHS + 1
    decode(decoder, caches[1:2], PATIENCE + 1)
    assert capture.captures == MAX_GRAPHS + 2


def test_sequences_that_come_and_go_find_their_graph_again(decoder: Decoder, capture: FakeCapture) -> None:
    first, second = filled(decoder, 4, 60)
    for together in ([first, second], [first], [first, second], [first], [second, first]):
        decode(decoder, together, PATIENCE + 1)
    assert (capture.captures, capture.replays) == (3, 3 + 2 * (PATIENCE + 1))


def test_only_steps_of_one_generated_token_a_sequence_are_captured(
    decoder: Decoder, capture: FakeCapture
) -> None:
    first, second = filled(decoder, 4, 6)
    for _ in range(PATIENCE + 2):
        decoder([Span([1], first, generated=True), Span([2, 3], second, generated=True)])
        decoder([Span([1], first, generated=True), Span([2], second)])
        decoder([Span([1], first, "none", generated=True)])
    assert capture.captures == 0
    decoder([Span([1], cache, generated=True) for cache in (first, second)])
    for _ in range(PATIENCE):  # what is computed in between makes no difference
        decoder([Span([1], cache, generated=True) for cache in (first, second)])
        decoder.extend([5] * 3, first)
    assert (capture.captures, capture.replays) == (1, 1)


def test_a_capture_that_fails_is_the_last_and_decoding_goes_on(
    plain: Decoder, decoder: Decoder, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def failing(step: Callable[[], Tensor]) -> Replay:
        tries.append(step())
        raise RuntimeError("operation not permitted when stream is capturing")

    decoder.decode_step = CapturedDecode(decoder, failing)
    steps = 3 * PATIENCE
    ours = decode(decoder, filled(decoder, 20), steps)
    for logits, expected in zip(ours, decode(plain, filled(plain, 20), steps), strict=True):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert len(tries) == 1
    assert "not permitted when stream is capturing" in caplog.text


def test_a_replay_that_fails_leaves_the_caches_as_they_were(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> Tensor:
        raise RuntimeError("broken")

    caches = filled(decoder, 20, 5)
    decode(decoder, caches, PATIENCE + 1)
    with monkeypatch.context() as patched:
        patched.setattr(decoder.head, "forward", broken)
        with pytest.raises(RuntimeError, match="broken"):
            decode(decoder, caches, 1)
    assert [cache.length for cache in caches] == [20 + PATIENCE + 1, 5 + PATIENCE + 1]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_any_run_of_steps_gives_the_logits_it_gives_without_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capture: FakeCapture, family: str, seed: int
) -> None:
    """Replies begin, decode, guess and reject tokens, end, and leave their caches to others."""
    monkeypatch.setattr(captured, "PATIENCE", 1)
    monkeypatch.setattr(captured, "MAX_GRAPHS", 3)
    save_tiny(tmp_path, family)
    decoder, plain = (load_decoder(tmp_path, torch.float32, "sdpa") for _ in range(2))
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


def test_an_engine_gives_the_replies_it_gives_without_graphs(
    tiny_model_folder: Path, chat_tokenizer: ChatTokenizer, capture: FakeCapture
) -> None:
    model = load_model(str(tiny_model_folder), tiny_model_folder)
    expected = replies(model, chat_tokenizer)
    model.decoder.decode_step = CapturedDecode(model.decoder, capture)
    assert replies(model, chat_tokenizer) == expected
    assert capture.replays > 20


def test_a_decoder_on_the_cpu_captures_nothing(plain: Decoder) -> None:
    assert plain.decode_step is None


class CountedCapture(CudaCapture):
    """Counts what is captured and replayed."""

    captures = replays = 0

    def __call__(self, step: Callable[[], Tensor]) -> Replay:
        self.captures += 1
        replay = super().__call__(step)

        def counted() -> Tensor:
            self.replays += 1
            return replay()

        return counted


@NEEDS_CUDA
def test_on_cuda_an_engine_gives_the_replies_it_gives_without_graphs(
    tiny_model_folder: Path, chat_tokenizer: ChatTokenizer
) -> None:
    model = load_model(str(tiny_model_folder), tiny_model_folder, device="cuda")
    assert isinstance(model.decoder.decode_step, CapturedDecode)
    model.decoder.decode_step = None
    expected = replies(model, chat_tokenizer)
    counted = CountedCapture(model.decoder.device)
    model.decoder.decode_step = CapturedDecode(model.decoder, counted)
    assert replies(model, chat_tokenizer) == expected
    assert counted.captures >= 2
    assert counted.replays > 20


@NEEDS_CUDA
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_on_cuda_graphs_give_the_logits_of_a_plain_decoder_and_let_go_of_caches(
    tmp_path: Path, family: str
) -> None:
    save_tiny(tmp_path, family)
    decoder, plain = (load_decoder(tmp_path, torch.float32, "sdpa", torch.device("cuda")) for _ in range(2))
    counted = CountedCapture(decoder.device)
    decoder.decode_step, plain.decode_step = CapturedDecode(decoder, counted), None
    for _ in range(3):  # with all caches of a turn all of its graphs go, and new ones share the pool
        ours, theirs = filled(decoder, 20, 240), filled(plain, 20, 240)
        for logits, expected in zip(decode(decoder, ours, 40), decode(plain, theirs, 40), strict=True):
            torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
    assert (counted.captures, counted.replays) == (6, 3 * (40 - 2 * PATIENCE))
