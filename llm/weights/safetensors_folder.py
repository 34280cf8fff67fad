"""A model folder in Hugging Face format: `config.json` and safetensors, one file or several with an index."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llm.errors import CorruptModelError, ModelNotFoundError, UnsupportedModelError
from llm.model.attention import AttentionPath
from llm.model.captured import CapturedDecode, CudaCapture
from llm.model.config import ModelConfig
from llm.model.decoder import Decoder
from llm.model.families import read_hf_config
from llm.model.packed import DecodeForm

SAMPLE_BYTES = 4096
CPU = torch.device("cpu")


def read_config(folder: Path) -> ModelConfig:
    """Raises ModelNotFoundError without a `config.json`, CorruptModelError if it cannot be read."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelNotFoundError(f"{folder} has no config.json: not a model folder in Hugging Face format")
    try:
        return read_hf_config(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise CorruptModelError(f"{path} cannot be read: {error!r}") from error


def load_decoder(
    folder: Path,
    dtype: torch.dtype,
    attention: AttentionPath,
    device: torch.device = CPU,
    decode_weights: DecodeForm = "same",
) -> Decoder:
    """The decoder with the folder's weights, ready to run.

    Raises CorruptModelError naming the tensor that is missing, too many, or of a wrong shape, and
    UnsupportedModelError for one of quantised numbers.
    """
    config = read_config(folder)
    try:
        with torch.device("meta"):
            decoder = Decoder(config, attention)
    except (RuntimeError, TypeError) as error:  # a size, or the product of two, overflows
        raise CorruptModelError(f"{folder / 'config.json'} gives sizes that no model has") from error
    files = _TensorFiles(folder, sees=config.architecture == "gemma3")
    state = {name: tensor.to(device, dtype) for name, tensor in _state(config, files)}
    if config.tied_head:
        state["head.weight"] = state["embedding.weight"]
    decoder.load_state_dict(state, assign=True, strict=True)
    if config.tied_head:
        decoder.head.weight = decoder.embedding.weight
    if decode_weights != "same":
        decoder.pack_for_decoding(decode_weights)
    elif device.type == "cuda":
        decoder.decode_step = CapturedDecode(decoder, CudaCapture(device))
    decoder.reorder_weights()
    return decoder.requires_grad_(False).eval()


def fingerprint(folder: Path) -> str:
    """Identifies the weights: a hash of the config, the tables of tensors, and samples of each tensor.

    Reading all would take longer than loading. Training changes numbers all over a tensor, so samples
    of its beginning, middle and end tell.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in _weight_files(folder):
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            header = file.read(header_bytes)
            digest.update(header)
            for name, entry in json.loads(header).items():
                if name == "__metadata__":
                    continue
                start, end = entry["data_offsets"]
                for offset in (start, (start + end) // 2, max(start, end - SAMPLE_BYTES)):
                    file.seek(8 + header_bytes + offset)
                    digest.update(file.read(min(SAMPLE_BYTES, end - offset)))
    return digest.hexdigest()


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptModelError(f"{index} cannot be read: {error!r}") from error
        return [folder / name for name in sorted(names)]
    return [folder / "model.safetensors"]


class _TensorFiles:
    """The tensors of a folder by name, read when asked for, each once.

    Of a checkpoint that also `sees` images only the text part is there, under the names it has alone.
    """

    def __init__(self, folder: Path, *, sees: bool) -> None:
        self.folder = folder
        self._files: dict[str, tuple[Any, str]] = {}
        for path in _weight_files(folder):
            if not path.is_file():
                raise CorruptModelError(f"{path} is missing")
            try:
                file = safe_open(path, framework="pt")
            except SafetensorError as error:
                raise CorruptModelError(f"{path} is not a whole safetensors file: {error}") from error
            stored_names: list[str] = list(file.keys())  # type: ignore[no-untyped-call]
            names = {_text_name(name) if sees else name: (file, name) for name in stored_names}
            self._files |= {name: place for name, place in names.items() if name is not None}

    def take(self, name: str, *shape: int) -> Tensor:
        if name not in self._files:
            raise CorruptModelError(f"{self.folder} lacks the tensor {name}")
        file, stored = self._files.pop(name)
        tensor: Tensor = file.get_tensor(stored)
        if tensor.shape != shape:
            raise CorruptModelError(
                f"{self.folder}: tensor {name} has the shape {list(tensor.shape)} instead of {list(shape)}"
            )
        if not tensor.is_floating_point():
            raise UnsupportedModelError(
                f"{self.folder}: tensor {name} holds {tensor.dtype}, not floating point"
            )
        return tensor

    def untaken(self) -> set[str]:
        # Old checkpoints carry this table; it follows from the config.
        return {name for name in self._files if not name.endswith("rotary_emb.inv_freq")}

    def drop(self, name: str) -> None:
        self._files.pop(name, None)


def _text_name(stored: str) -> str | None:
    """The name of a tensor without what multimodal checkpoints put before it; None for one that sees.

    The text part is `language_model.model.*`, or `model.language_model.*` where newer transformers wrote it.
    """
    if stored.removeprefix("model.").startswith(("vision_tower.", "multi_modal_projector.")):
        return None
    if stored.startswith("model.language_model."):
        return "model." + stored.removeprefix("model.language_model.")
    return stored.removeprefix("language_model.")


def _state(config: ModelConfig, files: _TensorFiles) -> Iterator[tuple[str, Tensor]]:
    """The decoder's own tensors, by its own names."""
    hidden = config.hidden_size
    yield "embedding.weight", files.take("model.embed_tokens.weight", config.vocab_size, hidden)
    for layer in range(config.layers):
        theirs = f"model.layers.{layer}"
        for part in (_norms, _attention, _mlp):
            for name, tensor in part(config, files, theirs):
                yield f"blocks.{layer}.{name}", tensor
    yield "norm.weight", _norm(config, files, "model.norm", hidden)
    if config.tied_head:
        files.drop("lm_head.weight")
    else:
        yield "head.weight", files.take("lm_head.weight", config.vocab_size, hidden)
    if files.untaken():
        names = ", ".join(sorted(files.untaken())[:5])
        raise CorruptModelError(f"{files.folder} has tensors that no part of the model takes: {names}")


def _norms(config: ModelConfig, files: _TensorFiles, theirs: str) -> Iterator[tuple[str, Tensor]]:
    names = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    if config.post_norms:
        names |= {
            "post_attention_norm": "post_attention_layernorm",
            "mlp_norm": "pre_feedforward_layernorm",
            "post_mlp_norm": "post_feedforward_layernorm",
        }
    for name, stored in names.items():
        yield f"{name}.weight", _norm(config, files, f"{theirs}.{stored}", config.hidden_size)


def _attention(config: ModelConfig, files: _TensorFiles, theirs: str) -> Iterator[tuple[str, Tensor]]:
    hidden, queries, keys = (
        config.hidden_size,
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    )
    rows = {"q": queries, "k": keys, "v": keys}
    weights = [files.take(f"{theirs}.self_attn.{part}_proj.weight", n, hidden) for part, n in rows.items()]
    yield "attention.qkv.weight", torch.cat(weights)
    if config.qkv_bias:
        biases = [files.take(f"{theirs}.self_attn.{part}_proj.bias", n) for part, n in rows.items()]
        yield "attention.qkv.bias", torch.cat(biases)
    yield "attention.out.weight", files.take(f"{theirs}.self_attn.o_proj.weight", hidden, queries)
    if config.out_bias:
        yield "attention.out.bias", files.take(f"{theirs}.self_attn.o_proj.bias", hidden)
    if config.qk_norm:
        for part in ("q_norm", "k_norm"):
            stored = f"{theirs}.self_attn.{part}"
            yield f"attention.{part}.weight", _norm(config, files, stored, config.head_dim)


def _mlp(config: ModelConfig, files: _TensorFiles, theirs: str) -> Iterator[tuple[str, Tensor]]:
    hidden, inner, halves = config.hidden_size, config.intermediate_size, ("gate", "up")
    weights = [files.take(f"{theirs}.mlp.{part}_proj.weight", inner, hidden) for part in halves]
    yield "mlp.gate_up.weight", torch.cat(weights)
    yield "mlp.down.weight", files.take(f"{theirs}.mlp.down_proj.weight", hidden, inner)
    if config.mlp_bias:
        biases = [files.take(f"{theirs}.mlp.{part}_proj.bias", inner) for part in halves]
        yield "mlp.gate_up.bias", torch.cat(biases)
        yield "mlp.down.bias", files.take(f"{theirs}.mlp.down_proj.bias", hidden)


def _norm(config: ModelConfig, files: _TensorFiles, stored: str, size: int) -> Tensor:
    weight = files.take(f"{stored}.weight", size)
    return weight.float() + 1 if config.norms_from_one else weight
