"""Rotary embeddings have the angles that transformers computes, scaled ones too."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from llm.model.families import read_hf_config
from llm.model.families.reading import FREQUENCY_DIVISORS
from llm.model.rope import Rope, angles
from tests.llm.tiny import TINY

POSITIONS = torch.tensor([0, 1, 63, 64, 65, 511, 512, 8191, 100_000])

LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0}


def rope_of(**changes: Any) -> tuple[Rope, dict[str, Any]]:
    config = {"model_type": "llama", "rms_norm_eps": 1e-6, "head_dim": 64} | TINY | changes
    return read_hf_config(config).layer_kinds[0].rope, config


@pytest.mark.parametrize("theta", [1e4, 5e5, 1e6])
@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 8.0},
        LLAMA3 | {"factor": 8.0, "original_max_position_embeddings": 8192},
        LLAMA3 | {"factor": 32.0, "original_max_position_embeddings": 64, "high_freq_factor": 2.0},
        LLAMA3 | {"factor": 2.0},
        YARN | {"original_max_position_embeddings": 32768},
        YARN | {"original_max_position_embeddings": 64},
        YARN | {"original_max_position_embeddings": 64, "beta_fast": 8.0, "beta_slow": 4.0},
        YARN | {"original_max_position_embeddings": 64, "truncate": False},
        YARN | {"original_max_position_embeddings": 64, "attention_factor": 0.7},
        YARN | {"original_max_position_embeddings": 64, "mscale": 1.0, "mscale_all_dim": 0.5},
        YARN | {"original_max_position_embeddings": 64, "factor": 0.5},
    ],
    ids=str,
)
def test_angles_are_those_of_transformers_far_beyond_the_original_window(
    scaling: dict[str, Any], theta: float
) -> None:
    rope, config = rope_of(rope_parameters=scaling | {"rope_theta": theta})
    theirs = LlamaRotaryEmbedding(LlamaConfig(**config))
    [cos], [sin] = theirs(torch.empty(0), POSITIONS.unsqueeze(0))
    turns = angles(POSITIONS, rope.frequencies(64))
    # One step of float32 in a frequency is a hundredth of a turn at position 100,000.
    near = POSITIONS < 10_000
    torch.testing.assert_close((turns.cos() * rope.magnitude)[near], cos[near], atol=2e-3, rtol=0)
    torch.testing.assert_close((turns.sin() * rope.magnitude)[near], sin[near], atol=2e-3, rtol=0)
    torch.testing.assert_close(turns.cos() * rope.magnitude, cos, atol=2e-2, rtol=0)


def test_the_older_form_of_a_config_says_the_same() -> None:
    newer, _ = rope_of(rope_parameters=LLAMA3 | {"factor": 8.0, "rope_theta": 5e5})
    for key in ("rope_type", "type"):
        older = {name: value for name, value in LLAMA3.items() if name != "rope_type"}
        assert rope_of(rope_scaling=older | {"factor": 8.0, key: "llama3"}, rope_theta=5e5)[0] == newer


def test_yarn_without_a_factor_stretches_to_the_context_window() -> None:
    scaling = {"rope_type": "yarn", "factor": None, "rope_theta": 1e4, "original_max_position_embeddings": 64}
    rope, config = rope_of(rope_parameters=scaling)
    inverse, magnitude = ROPE_INIT_FUNCTIONS["yarn"](LlamaConfig(**config))
    torch.testing.assert_close(rope.frequencies(64), inverse)
    assert rope.magnitude == pytest.approx(magnitude)


def test_yarn_added_to_a_config_widens_the_context_window() -> None:
    scaling = YARN | {"original_max_position_embeddings": 512, "rope_theta": 1e4}
    config = {"model_type": "llama", "rms_norm_eps": 1e-6} | TINY | {"rope_parameters": scaling}
    assert read_hf_config(config).context_window == 2048
    assert read_hf_config(config | {"max_position_embeddings": 4096}).context_window == 4096


def test_divisors_divide_the_frequencies() -> None:
    divisors = [1.0 + n for n in range(32)]
    rope, _ = rope_of(rope_parameters={"rope_type": FREQUENCY_DIVISORS, "divisors": divisors})
    plain, _ = rope_of()
    torch.testing.assert_close(rope.frequencies(64) * torch.tensor(divisors), plain.frequencies(64))


@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_type": "linear"},
        {"rope_type": "linear", "factor": 0.0},
        {"rope_type": "linear", "factor": "two"},
        {"rope_type": "default", "rope_theta": -1.0},
        {"rope_type": FREQUENCY_DIVISORS, "divisors": [1.0, 2.0]},
        LLAMA3 | {"factor": 2.0, "high_freq_factor": 1.0},
        YARN | {"attention_factor": float("nan")},
    ],
    ids=str,
)
def test_impossible_scalings_are_errors(parameters: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        rope_of(rope_parameters=parameters)
