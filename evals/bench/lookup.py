"""Prompt-lookup decoding: the same replies with guesses and without, such as quote the context and others."""

from collections.abc import Sequence

from evals.bench.decode import DecodeSizes, rows_of_rates
from evals.bench.ours import OurChat, OurEngine
from evals.bench.report import Goal, Round, Row, Section, median_of_ratios, rotated
from evals.bench.script import Script
from llm.progress import Progress
from llm.text.chat_format import ChatEncoding

QUOTED_EXCHANGES = 3
GUESSING = "perdure, prompt lookup"


def measure_lookup(
    plain: OurEngine, guessing: OurEngine, script: Script, sizes: DecodeSizes, progress: Progress
) -> Section:
    """Greedy replies of `sizes.tokens` tokens, another prompt in each round."""
    rows: list[Row] = []
    goals: list[Goal] = []
    for kind, prompts in _prompts(script, plain.model.tokenizer, sizes.rounds).items():
        measured: dict[str, list[Round]] = {plain.name: [], GUESSING: []}
        accepted = guessing.model.engine.stats
        for number, prompt in enumerate(prompts):
            progress(f"prompt lookup, {kind}", number, len(prompts))
            for name, engine in rotated([(plain.name, plain), (GUESSING, guessing)], number):
                measured[name].append({"tokens/s": _rate(engine, prompt, sizes.tokens)})
        progress(f"prompt lookup, {kind}", len(prompts), len(prompts))
        stats = guessing.model.engine.stats
        named = [(f"{name}, {kind}", rounds) for name, rounds in measured.items()]
        rows += rows_of_rates(named)
        rows[-1].figures["guessed"] = stats.drafted_tokens - accepted.drafted_tokens
        rows[-1].figures["right"] = stats.accepted_tokens - accepted.accepted_tokens
        if kind == "quoting":
            gain = median_of_ratios(measured[GUESSING], measured[plain.name], "tokens/s")
            goals.append(Goal("tokens/s on replies that quote, prompt lookup / plain", 1.5, gain, "at least"))
    return Section("prompt lookup", f"one stream, {sizes.tokens} tokens", rows, goals)


def _rate(engine: OurEngine, prompt: Sequence[int], tokens: int) -> float:
    chat: OurChat = engine.new_chat(len(prompt) + tokens)
    try:
        chat.first_token(prompt)
        times = chat.decode(prompt, tokens)
    finally:
        chat.close()
    return (len(times) - 1) / (times[-1] - times[0])


def _prompts(script: Script, tokenizer: ChatEncoding, count: int) -> dict[str, list[tuple[int, ...]]]:
    """Prompts that ask to repeat what was said, and prompts that ask for something new."""
    quoting, telling = [], []
    for number in range(count):
        exchanges = script.said[number * QUOTED_EXCHANGES : (number + 1) * QUOTED_EXCHANGES]
        said = " ".join(f"{message} {reply}" for message, reply in exchanges)
        quoting.append(_ask(tokenizer, f"Repeat this text word for word, and say nothing else: {said}"))
        telling.append(_ask(tokenizer, f"Tell me a story that begins like this: {exchanges[0][0]}"))
    return {"quoting": quoting, "telling": telling}


def _ask(tokenizer: ChatEncoding, content: str) -> tuple[int, ...]:
    return (
        *tokenizer.encode_preamble(None),
        *tokenizer.encode_message("user", content),
        *tokenizer.generation_prompt,
    )
