"""GGUF files, turned once into a model folder in Hugging Face format, from which loading is quick.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from llm.errors import CorruptModelError, UnsupportedModelError

CONVERSION = 1
"""Counts changes to what a conversion writes; folders of an older count are converted again."""

MANIFEST = "conversion.json"

BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER_TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}

Progress = Callable[[str, int, int], None]


def is_converted(gguf: Path, folder: Path) -> bool:
    """Whether `folder` holds a whole conversion of the file as it is now."""
    try:
        return bool(json.loads((folder / MANIFEST).read_text(encoding="utf-8")) == _identity(gguf))
    except (OSError, ValueError):
        return False


def convert(gguf: Path, folder: Path, progress: Progress) -> None:
    """Write the model of `gguf`, dequantised to float32, with its tokeniser, to `folder`.

    What was in `folder` is replaced as a whole, or not at all. Raises CorruptModelError or
    UnsupportedModelError.
    """
    identity = _identity(gguf)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    reader = _read(gguf)
    config = _config(reader)
    tensors = _tensors(reader, config, progress)
    save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    (partial / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    progress("converting the tokeniser", 0, 1)
    _save_tokenizer(gguf, partial)
    progress("converting the tokeniser", 1, 1)
    (partial / MANIFEST).write_text(json.dumps(identity), encoding="utf-8")
    _sync(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _identity(gguf: Path) -> dict[str, Any]:
    stat = gguf.stat()
    return {
        "conversion": CONVERSION,
        "file": gguf.name,
        "bytes": stat.st_size,
        "modified_ns": stat.st_mtime_ns,
    }


def _read(gguf: Path) -> Any:
    from gguf import GGUFReader

    try:
        return GGUFReader(gguf)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise CorruptModelError(f"{gguf} is not a whole GGUF file: {error}") from error


def _config(reader: Any) -> dict[str, Any]:
    """The Hugging Face config that says what the file's metadata say."""

    def value(key: str, default: Any = None) -> Any:
        field = reader.fields.get(key)
        return default if field is None else field.contents()

    architecture = value("general.architecture")
    if architecture != "llama":
        raise UnsupportedModelError(
            f"GGUF architecture {architecture!r} is not supported; supported are llama"
        )
    if value("llama.rope.scaling.type", "none") != "none" or "rope_freqs.weight" in _names(reader):
        raise UnsupportedModelError("GGUF files with scaled RoPE are not supported")
    heads = int(value("llama.attention.head_count"))
    hidden = int(value("llama.embedding_length"))
    embedding = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": int(embedding.shape[1]),
        "hidden_size": hidden,
        "intermediate_size": int(value("llama.feed_forward_length")),
        "num_hidden_layers": int(value("llama.block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(value("llama.attention.head_count_kv", heads)),
        "head_dim": int(value("llama.attention.key_length", hidden // heads)),
        "max_position_embeddings": int(value("llama.context_length")),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": float(value("llama.rope.freq_base", 10000.0)),
        },
        "rms_norm_eps": float(value("llama.attention.layer_norm_rms_epsilon")),
        "hidden_act": "silu",
        "tie_word_embeddings": "output.weight" not in _names(reader),
        "bos_token_id": value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": value("tokenizer.ggml.eos_token_id"),
        "dtype": "float32",
    }


def _names(reader: Any) -> set[str]:
    return {tensor.name for tensor in reader.tensors}


def _tensors(reader: Any, config: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
    from gguf.quants import dequantize

    tensors: dict[str, Tensor] = {}
    for done, tensor in enumerate(reader.tensors):
        progress("converting the weights", done, len(reader.tensors))
        try:
            values = torch.tensor(dequantize(tensor.data, tensor.tensor_type), dtype=torch.float32)
        except (ValueError, NotImplementedError) as error:
            raise UnsupportedModelError(
                f"tensor {tensor.name} is stored as {tensor.tensor_type.name}, which cannot be read: {error}"
            ) from error
        part = tensor.name.split(".")[-2]
        if part in ("attn_q", "attn_k"):
            heads = config["num_attention_heads" if part == "attn_q" else "num_key_value_heads"]
            values = _unpermute(values, heads)
        tensors[_hf_name(tensor.name)] = values.contiguous()
    progress("converting the weights", len(reader.tensors), len(reader.tensors))
    return tensors


def _hf_name(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "blk" and len(parts) == 4 and parts[2] in BLOCK_TENSORS:
        return f"model.layers.{parts[1]}.{BLOCK_TENSORS[parts[2]]}.{parts[3]}"
    if parts[0] in OUTER_TENSORS and len(parts) == 2:
        return f"{OUTER_TENSORS[parts[0]]}.{parts[1]}"
    raise UnsupportedModelError(f"tensor {name} has no place in this architecture")


def _unpermute(weight: Tensor, heads: int) -> Tensor:
    """From the row order of interleaved RoPE, which llama GGUF files have, to that of half-split RoPE."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def _save_tokenizer(gguf: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.save_pretrained(folder)


def _sync(folder: Path) -> None:
    """Bring the files to the disk, so that a renamed folder is whole even after a power cut."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
