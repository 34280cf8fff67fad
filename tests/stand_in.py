"""The model that stands in for the default one in tests where nothing rests on what is said.

A test or a module marked `stand_in` has it: a step of it takes a fiftieth of the default model's.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from llm.loading import LoadedModel, load_model
from tests.llm.tiny import CHAT_VOCABULARY, save_tiny_llama

DEFAULT_MODEL = "smollm2-135m-instruct"


def load_stand_in(folder: Path, default: Path) -> LoadedModel:
    """Random weights, kept in `folder`; the name, the vocabulary and the window of the model in `default`."""
    save_tiny_llama(folder, vocab_size=CHAT_VOCABULARY, max_position_embeddings=8192)
    return replace(load_model(str(folder), folder), name=DEFAULT_MODEL, folder=default)


def model_for(request: pytest.FixtureRequest) -> LoadedModel:
    """The default model, unless the test or the module is marked."""
    marked = request.node.get_closest_marker("stand_in") is not None
    model: LoadedModel = request.getfixturevalue("stand_in" if marked else "default_model")
    return model
