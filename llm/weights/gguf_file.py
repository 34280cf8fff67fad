"""GGUF files, turned once into a model folder in Hugging Face format, from which loading is quick.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors.torch import save_file
from torch import Tensor

from llm.checksums import FileRecord, record_files, sha256_of, sizes_match, verify_files
from llm.errors import CorruptModelError, UnsupportedModelError
from llm.progress import Progress

CONVERSION = 2
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


class _Source(TypedDict):
    bytes: int
    modified_ns: int
    sha256: str


class _Manifest(TypedDict):
    conversion: int
    source: _Source
    files: dict[str, FileRecord]


def is_converted(gguf: Path, folder: Path) -> bool:
    """Whether `folder` holds a whole conversion of the file as it is now: by sizes and times, so quick."""
    manifest, stat = _manifest(folder), gguf.stat()
    return (
        manifest is not None
        and (manifest["source"]["bytes"], manifest["source"]["modified_ns"])
        == (stat.st_size, stat.st_mtime_ns)
        and sizes_match(folder, manifest["files"])
    )


def convert(gguf: Path, folder: Path, progress: Progress) -> None:
    """Write the model of `gguf`, dequantised to float32, with its tokeniser, to `folder`.

    What was in `folder` is replaced as a whole, or not at all; it stays if it came from a file of the
    same contents. Raises CorruptModelError or UnsupportedModelError. The caller sees to it that nobody
    else converts to the same folder meanwhile.
    """
    stat = gguf.stat()
    source: _Source = {
        "bytes": stat.st_size,
        "modified_ns": stat.st_mtime_ns,
        "sha256": sha256_of(gguf),
    }
    known = _manifest(folder)
    if known and known["source"]["sha256"] == source["sha256"] and sizes_match(folder, known["files"]):
        _write_manifest(folder, source, known["files"])
        return
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write_model(gguf, partial, progress)
        _write_manifest(partial, source, record_files(partial))
        _sync(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def verify_conversion(folder: Path) -> None:
    """Read every file of a conversion. Raises CorruptModelError naming the one that is not as written."""
    manifest = _manifest(folder)
    if manifest is None:
        raise CorruptModelError(f"{folder} holds no whole conversion of a GGUF file")
    verify_files(folder, manifest["files"])


def _manifest(folder: Path) -> _Manifest | None:
    """None if there is none, or one of another version."""
    try:
        manifest: _Manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return manifest if manifest["conversion"] == CONVERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_manifest(folder: Path, source: _Source, files: dict[str, FileRecord]) -> None:
    manifest: _Manifest = {"conversion": CONVERSION, "source": source, "files": files}
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    partial.replace(folder / MANIFEST)


def _write_model(gguf: Path, folder: Path, progress: Progress) -> None:
    reader = _read(gguf)
    try:
        config = _config(reader)
    except (TypeError, ValueError, KeyError, ArithmeticError, StopIteration) as error:
        raise CorruptModelError(f"the metadata of {gguf} are not whole: {error!r}") from error
    tensors = _tensors(reader, config, progress)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    progress("converting the tokeniser", 0, 1)
    _save_tokenizer(gguf, folder)
    progress("converting the tokeniser", 1, 1)


def _read(gguf: Path) -> Any:
    from gguf import GGUFReader

    try:
        return GGUFReader(gguf)
    except Exception as error:  # whatever the reader stumbles over in bytes that are no GGUF
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
        name = _hf_name(tensor.name)
        for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if part in name:
                values = _unpermute(tensor.name, values, config[heads])
        tensors[name] = values.contiguous()
    progress("converting the weights", len(reader.tensors), len(reader.tensors))
    return tensors


def _hf_name(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "blk" and len(parts) == 4 and parts[2] in BLOCK_TENSORS:
        return f"model.layers.{parts[1]}.{BLOCK_TENSORS[parts[2]]}.{parts[3]}"
    if parts[0] in OUTER_TENSORS and len(parts) == 2:
        return f"{OUTER_TENSORS[parts[0]]}.{parts[1]}"
    raise UnsupportedModelError(f"tensor {name} has no place in this architecture")


def _unpermute(name: str, weight: Tensor, heads: int) -> Tensor:
    """From the row order of interleaved RoPE, which llama GGUF files have, to that of half-split RoPE."""
    if weight.dim() != 2 or weight.shape[0] % (2 * heads):
        raise CorruptModelError(f"tensor {name} of shape {list(weight.shape)} does not hold {heads} heads")
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def _save_tokenizer(gguf: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except Exception as error:  # transformers names no class for a vocabulary that it cannot make out
        raise UnsupportedModelError(f"the tokeniser in {gguf} cannot be read: {error!r}") from error
    tokenizer.save_pretrained(folder)


def _sync(folder: Path) -> None:
    """Bring the files to the disk, so that a renamed folder is whole even after a power cut."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
