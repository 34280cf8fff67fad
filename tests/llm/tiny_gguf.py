"""A tiny random model as a GGUF file: read and converted in a moment."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS = 32, 64, 2, 4, 2


def write_tiny_gguf(path: Path, *, without: str = "", **metadata: Any) -> None:
    """A llama of two layers on a vocabulary of bytes.

    `metadata` are keys of the `llama.` section by their last part, None to leave one out; `without`
    names a tensor to leave out.
    """
    byte_tokens = sorted(set(_byte_characters()))
    tokens = [*byte_tokens, "ab", "<|end|>"]
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    values = {
        "block_count": LAYERS,
        "context_length": 64,
        "embedding_length": HIDDEN,
        "feed_forward_length": INNER,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
    } | {name.replace("__", "."): value for name, value in metadata.items()}
    for name, value in values.items():
        if value is not None:
            writer.add_uint32(f"llama.{name}", value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)
    shapes = {"token_embd": (len(tokens), HIDDEN), "output_norm": (HIDDEN,)}
    for layer in range(LAYERS):
        keys = KV_HEADS * HIDDEN // HEADS
        parts = {"attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,), "ffn_down": (HIDDEN, INNER)}
        parts |= dict.fromkeys(("attn_q", "attn_output"), (HIDDEN, HIDDEN))
        parts |= dict.fromkeys(("attn_k", "attn_v"), (keys, HIDDEN))
        parts |= dict.fromkeys(("ffn_gate", "ffn_up"), (INNER, HIDDEN))
        shapes |= {f"blk.{layer}.{part}": shape for part, shape in parts.items()}
    for name, shape in shapes.items():
        if name != without:
            writer.add_tensor(f"{name}.weight", random.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _byte_characters() -> list[str]:
    """The characters that stand for bytes in byte-level vocabularies (Radford et al. 2019, GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
