"""The house rules that a machine can check."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_memory_and_llm_import_neither_each_other_nor_the_service() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--config", "pyproject.toml", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout
    assert "4 kept, 0 broken" in linted.stdout
