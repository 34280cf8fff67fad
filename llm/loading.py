"""Loading: from a model's name to its decoder."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from llm.catalog import ensure_model
from llm.errors import UnsupportedModelError
from llm.model.attention import AttentionPath
from llm.model.config import ModelConfig
from llm.model.decoder import Decoder
from llm.model.packed import DecodeForm
from llm.progress import Progress, silent
from llm.weights.safetensors_folder import fingerprint, load_decoder

DtypeName = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A decoder with its weights, and where they came from.

    `fingerprint` identifies weights and number formats: what was computed under one is valid under it only.
    """

    name: str
    folder: Path
    decoder: Decoder
    dtype: DtypeName
    fingerprint: str
    decode_weights: DecodeForm = "same"

    @property
    def number_format(self) -> str:
        """Of the weights: "float32", or "float32+int4" where packed ones compute generated tokens."""
        return self.dtype if self.decode_weights == "same" else f"{self.dtype}+{self.decode_weights}"

    @property
    def config(self) -> ModelConfig:
        return self.decoder.config

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.decoder.parameters())


def load_model(
    model: str,
    models_folder: Path,
    *,
    dtype: DtypeName = "float32",
    decode_weights: DecodeForm = "same",
    device: str = "cpu",
    attention: AttentionPath = "sdpa",
    progress: Progress = silent,
) -> LoadedModel:
    """Load a model by name, path or hub id; see `ensure_model` and `load_decoder` for what they raise.

    Raises UnsupportedModelError for a `device` that is not there.
    """
    place = _checked_device(device)
    folder = ensure_model(model, models_folder, progress)
    decoder = load_decoder(folder, getattr(torch, dtype), attention, place, decode_weights)
    identity = f"{fingerprint(folder)} {dtype}"
    if decode_weights != "same":
        identity += f" {decode_weights}"
    hashed = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return LoadedModel(model, folder, decoder, dtype, hashed, decode_weights)


def dtype_for(device: str) -> DtypeName:
    """bfloat16 where matrices of it are multiplied in hardware (CUDA, Intel's AMX), float32 elsewhere."""
    return "bfloat16" if device.startswith("cuda") or torch.cpu._is_amx_tile_supported() else "float32"


def _checked_device(device: str) -> torch.device:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UnsupportedModelError(f"device {device!r}: torch {torch.__version__} finds no CUDA device here")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise UnsupportedModelError(f"device {device!r} is none: {error}") from error
