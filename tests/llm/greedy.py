"""What greedy decoding must give, by a plain pass over all of it."""

from collections.abc import Sequence

from llm.model.decoder import Decoder

TOO_CLOSE = 1e-3
"""Two logits nearer than this may come in either order, as floating point has it."""


def assert_greedy(decoder: Decoder, prompt: Sequence[int], reply: Sequence[int]) -> None:
    """Each token of the reply is the likeliest one, up to where two are too close."""
    logits = decoder.extend([*prompt, *reply], decoder.new_cache(), "all")
    for position, token_id in enumerate(reply, start=len(prompt) - 1):
        likeliest = logits[position].topk(2)
        if float(likeliest.values[0] - likeliest.values[1]) < TOO_CLOSE:
            return
        assert token_id == int(likeliest.indices[0])
