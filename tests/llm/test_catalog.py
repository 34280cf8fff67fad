"""The catalogue: what is made once is made whole, by one process, and then only read."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from llm.catalog import EMBEDDING_MODEL, ensure_model, verify
from llm.errors import CorruptModelError
from llm.weights.gguf_file import is_converted, verify_conversion
from tests.llm.tiny_gguf import write_tiny_gguf

DEFAULT = "smollm2-135m-instruct"
ENSURE = """
import sys
from pathlib import Path
from llm.catalog import ensure_model
stages = set()
print(ensure_model(sys.argv[1], Path(sys.argv[2]), lambda stage, done, total: stages.add(stage)))
print(sorted(stages))
"""


@pytest.fixture
def own_models(model_folder: Path, tmp_path: Path) -> Path:
    """A models folder of the test's own with the default model in it."""
    models = tmp_path / "models"
    shutil.copytree(model_folder.parent, models / DEFAULT)
    return models


def stages_of(model: str, models: Path) -> list[str]:
    """The stages that were reported until the model was ready."""
    stages: list[str] = []
    ensure_model(model, models, lambda stage, _done, _total: stages.append(stage))
    return list(dict.fromkeys(stages))


def test_the_packaged_gguf_is_the_published_one(model_folder: Path) -> None:
    manifest = (model_folder.parent / "package.json").read_text()
    assert "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53" in manifest


def test_a_model_that_is_ready_is_only_looked_at(model_folder: Path, models_folder: Path) -> None:
    with FileLock(models_folder / f".{DEFAULT}.lock"), FileLock(model_folder.parent / ".converted.lock"):
        assert stages_of(DEFAULT, models_folder) == []
        assert stages_of(EMBEDDING_MODEL, models_folder) == []


def test_a_conversion_that_lost_a_part_is_made_again(tmp_path: Path) -> None:
    gguf, models = tmp_path / "tiny.gguf", tmp_path / "models"
    write_tiny_gguf(gguf)
    weights = ensure_model(str(gguf), models) / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1)
    assert "converting the weights" in stages_of(str(gguf), models)
    verify_conversion(weights.parent)
    assert stages_of(str(gguf), models) == []


def test_a_gguf_of_another_time_but_the_same_contents_is_not_converted_again(tmp_path: Path) -> None:
    gguf, models = tmp_path / "tiny.gguf", tmp_path / "models"
    write_tiny_gguf(gguf)
    folder = ensure_model(str(gguf), models)
    os.utime(gguf, ns=(0, 0))
    assert not is_converted(gguf, folder)
    assert stages_of(str(gguf), models) == []
    assert is_converted(gguf, folder), "the new time is noted"


@pytest.mark.parametrize("damaged", ["SmolLM2-135M-Instruct.Q4_1.gguf", "converted/model.safetensors"])
def test_verification_finds_a_changed_byte_and_names_both_hashes(own_models: Path, damaged: str) -> None:
    verify(DEFAULT, own_models)
    path = own_models / DEFAULT / damaged
    with path.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(CorruptModelError, match=rf"{path.name} has the SHA-256 \w{{64}}, but \w{{64}} was"):
        verify(DEFAULT, own_models)


def test_verification_finds_a_missing_conversion(own_models: Path) -> None:
    shutil.rmtree(own_models / DEFAULT / "converted")
    with pytest.raises(CorruptModelError, match="no whole conversion"):
        verify(DEFAULT, own_models)


def test_of_two_processes_at_once_one_converts_and_both_have_the_model(tmp_path: Path) -> None:
    gguf, models = tmp_path / "tiny.gguf", tmp_path / "models"
    write_tiny_gguf(gguf)
    command = [sys.executable, "-c", ENSURE, str(gguf), str(models)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert outputs[0][0] == outputs[1][0]
    assert sum("converting the weights" in output[1] for output in outputs) == 1
    assert (Path(outputs[0][0]) / "model.safetensors").is_file()


def test_who_waits_for_another_process_says_so(tmp_path: Path) -> None:
    gguf, models = tmp_path / "tiny.gguf", tmp_path / "models"
    write_tiny_gguf(gguf)
    folder = ensure_model(str(gguf), models)
    shutil.rmtree(folder)
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    lock.acquire()
    stages: list[str] = []

    def progress(stage: str, _done: int, _total: int) -> None:
        stages.append(stage)
        lock.release()

    ensure_model(str(gguf), models, progress)
    assert stages[0] == f"waiting for another process to finish {folder.name}"
    assert "converting the weights" in stages
