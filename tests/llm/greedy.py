"""What greedy decoding must give, by a plain pass over all of it."""

from collections.abc import Sequence

from llm.engine.interface import Finished
from llm.model.decoder import Decoder

TOO_CLOSE = 1e-3
"""Two logits nearer than this may come in either order, as floating point has it."""


def sure_ids(finished: Finished) -> tuple[int, ...]:
    """The ids of a reply that were surely generated so: one that was cut off may end inside a character, and
    the ids of what of it has gone out are others (see `ids_of_text`)."""
    return finished.token_ids[:-4] if finished.reason == "length" else finished.token_ids


def assert_greedy(decoder: Decoder, prompt: Sequence[int], reply: Sequence[int]) -> None:
    """Each token of the reply is the likeliest one, up to where two are too close."""
    logits = decoder.extend([*prompt, *reply], decoder.new_cache(), "all")
    for position, token_id in enumerate(reply, start=len(prompt) - 1):
        likeliest = logits[position].topk(2)
        if float(likeliest.values[0] - likeliest.values[1]) < TOO_CLOSE:
            return
        assert token_id == int(likeliest.indices[0])
