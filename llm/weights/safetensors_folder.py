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
from llm.model.config import ModelConfig
from llm.model.decoder import Decoder

SAMPLE_BYTES = 4096
CPU = torch.device("cpu")


def read_config(folder: Path) -> ModelConfig:
    """Raises ModelNotFoundError without a `config.json`, CorruptModelError if it cannot be read."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelNotFoundError(f"{folder} has no config.json: not a model folder in Hugging Face format")
    try:
        return ModelConfig.from_hf(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise CorruptModelError(f"{path} cannot be read: {error!r}") from error


def load_decoder(
    folder: Path, dtype: torch.dtype, attention: AttentionPath, device: torch.device = CPU
) -> Decoder:
    """The decoder with the folder's weights, ready to run.

    Raises CorruptModelError naming the tensor that is missing, too many, or of a wrong shape, and
    UnsupportedModelError for one of quantised numbers.
    """
    config = read_config(folder)
    with torch.device("meta"):
        decoder = Decoder(config, attention)
    files = _TensorFiles(folder)
    state = {name: _placed(tensor, dtype, device) for name, tensor in _state(config, files)}
    if config.tied_head:
        state["head.weight"] = state["embedding.weight"]
    decoder.load_state_dict(state, assign=True, strict=True)
    if config.tied_head:
        decoder.head.weight = decoder.embedding.weight
    return decoder.requires_grad_(False).eval()


def _placed(weight: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    weight = weight.to(device, dtype)
    if weight.dim() == 2 and dtype == torch.float32 and device.type == "cpu":
        # By columns, decoding is a quarter faster on AMD processors (MKL's product of one row with a
        # matrix that lies by rows is slow there). Not in bfloat16, whose kernels want rows.
        return weight.t().contiguous().t()
    return weight


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
    """The tensors of a folder by name, read when asked for, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Any] = {}
        for path in _weight_files(folder):
            if not path.is_file():
                raise CorruptModelError(f"{path} is missing")
            try:
                file = safe_open(path, framework="pt")
            except SafetensorError as error:
                raise CorruptModelError(f"{path} is not a whole safetensors file: {error}") from error
            self._files |= dict.fromkeys(file.keys(), file)  # type: ignore[no-untyped-call]

    def take(self, name: str, *shape: int) -> Tensor:
        if name not in self._files:
            raise CorruptModelError(f"{self.folder} lacks the tensor {name}")
        tensor: Tensor = self._files.pop(name).get_tensor(name)
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


def _state(config: ModelConfig, files: _TensorFiles) -> Iterator[tuple[str, Tensor]]:
    """The decoder's own tensors, by its own names."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    yield "embedding.weight", files.take("model.embed_tokens.weight", config.vocab_size, hidden)
    for layer in range(config.layers):
        theirs, ours = f"model.layers.{layer}", f"blocks.{layer}"
        yield f"{ours}.attention_norm.weight", files.take(f"{theirs}.input_layernorm.weight", hidden)
        qkv = [
            files.take(f"{theirs}.self_attn.{part}_proj.weight", rows, hidden)
            for part, rows in (("q", queries), ("k", keys), ("v", keys))
        ]
        yield f"{ours}.attention.qkv.weight", torch.cat(qkv)
        yield f"{ours}.attention.out.weight", files.take(f"{theirs}.self_attn.o_proj.weight", hidden, queries)
        yield f"{ours}.mlp_norm.weight", files.take(f"{theirs}.post_attention_layernorm.weight", hidden)
        gate_up = [files.take(f"{theirs}.mlp.{part}_proj.weight", inner, hidden) for part in ("gate", "up")]
        yield f"{ours}.mlp.gate_up.weight", torch.cat(gate_up)
        yield f"{ours}.mlp.down.weight", files.take(f"{theirs}.mlp.down_proj.weight", hidden, inner)
    yield "norm.weight", files.take("model.norm.weight", hidden)
    if config.tied_head:
        files.drop("lm_head.weight")
    else:
        yield "head.weight", files.take("lm_head.weight", config.vocab_size, hidden)
    if files.untaken():
        names = ", ".join(sorted(files.untaken())[:5])
        raise CorruptModelError(f"{files.folder} has tensors that no part of the model takes: {names}")
