"""Captured decode steps: when there is a graph, when there is none, and always the same logits."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from llm.model.captured import MAX_GRAPHS, PATIENCE, CapturedDecode, Replay
from llm.model.decoder import Decoder, Span
from llm.weights.safetensors_folder import load_decoder
from tests.llm.captures import FakeCapture, decode, filled
from tests.llm.tiny import save_tiny_llama


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
