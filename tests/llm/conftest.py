"""Parts that the tests of the model share."""

from pathlib import Path

import pytest

from llm.catalog import ensure_model


@pytest.fixture(scope="session")
def model_folder(models_folder: Path) -> Path:
    """The default model, prepared, for tests that do not need it loaded."""
    return ensure_model("smollm2-135m-instruct", models_folder)
