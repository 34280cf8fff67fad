"""What a number format costs in quality: how far its predictions are from those of float32 weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from llm.model.decoder import Decoder, Span

REPLY_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Chat:
    """A prompt, and what is said after it, as token ids."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """Over `tokens` of the chats' replies, each predicted from the true text before it: the mean
    Kullback-Leibler divergence from float32 in nats, the largest difference of a logit, and the share of
    tokens for which both find the same token likeliest. And of greedy replies of 64 tokens to the
    chats' prompts: how many are the same throughout, and the median place of the first token that differs.
    """

    tokens: int
    mean_divergence: float
    largest_logit_difference: float
    greedy_agreement: float
    same_replies: int
    replies: int
    median_first_difference: float | None


def compare(exact: Decoder, other: Decoder, chats: Sequence[Chat]) -> Quality:
    """`exact`: the same model in float32. Prompts are computed as prompts are, replies as replies are."""
    divergences: list[Tensor] = []
    agreements: list[Tensor] = []
    largest = 0.0
    first_differences: list[int] = []
    for chat in chats:
        wanted, given = _reply_logits(exact, chat), _reply_logits(other, chat)
        wanted_log, given_log = wanted.log_softmax(-1), given.log_softmax(-1)
        divergences.append((wanted_log.exp() * (wanted_log - given_log)).sum(-1))
        agreements.append(wanted.argmax(-1) == given.argmax(-1))
        largest = max(largest, float((wanted - given).abs().max()))
        first_differences.append(_first_difference(_greedy(exact, chat.prompt), _greedy(other, chat.prompt)))
    differing = [place for place in first_differences if place < REPLY_TOKENS]
    divergence, agreement = torch.cat(divergences), torch.cat(agreements)
    return Quality(
        tokens=len(divergence),
        mean_divergence=float(divergence.mean()),
        largest_logit_difference=largest,
        greedy_agreement=float(agreement.float().mean()),
        same_replies=len(chats) - len(differing),
        replies=len(chats),
        median_first_difference=median(differing) if differing else None,
    )


def _reply_logits(decoder: Decoder, chat: Chat) -> Tensor:
    """Logits `[len(reply) - 1, vocab]` that predict the reply's second token and those after it."""
    cache = decoder.new_cache(room=len(chat.prompt) + len(chat.reply))
    decoder([Span(chat.prompt, cache, "none")])
    logits: list[Tensor] = decoder([Span(chat.reply[:-1], cache, "all", generated=True)])
    return logits[0]


def _greedy(decoder: Decoder, prompt: Sequence[int]) -> list[int]:
    cache = decoder.new_cache(room=len(prompt) + REPLY_TOKENS)
    chosen = [int(decoder([Span(prompt, cache)])[0].argmax())]
    while len(chosen) < REPLY_TOKENS:
        [logits] = decoder([Span(chosen[-1:], cache, generated=True)])
        chosen.append(int(logits.argmax()))
    return chosen


def _first_difference(first: Sequence[int], second: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b), len(first))
