"""What number formats cost in quality is measured on chat text, kept beside the models, and shown there."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.main import app
from evals.quality import FORMATS, Sizes, known_quality, measure


def test_every_format_is_measured_and_the_figures_are_kept(tiny_model: Path, tmp_path: Path) -> None:
    model = str(tiny_model)
    assert known_quality(model, tmp_path) is None
    measured = measure(model, tmp_path, None, Sizes(chats=2, prompt=40, reply=20))
    assert len(measured) == len(FORMATS)
    for quality in measured.values():
        assert quality.tokens == 2 * 19
        assert 0 < quality.mean_divergence < 5
        assert 0 <= quality.greedy_agreement <= 1
    assert known_quality(model, tmp_path) == ("made from a seed", measured)


@pytest.mark.parametrize("content", ["", "[]", '{"m": 3}', '{"m": {"text": "t", "formats": {"f": {}}}}'])
def test_figures_that_cannot_be_read_count_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "quality.json").write_text(content)
    assert known_quality("m", tmp_path) is None


def test_the_command_line_shows_them(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_MODEL", str(tiny_model))
    monkeypatch.setenv("PERDURE_MODELS", str(tmp_path))
    before = CliRunner().invoke(app, ["models"])
    assert "perdure models measure" in before.output
    measure(str(tiny_model), tmp_path, None, Sizes(chats=1, prompt=40, reply=20))
    after = CliRunner().invoke(app, ["models"], env={"COLUMNS": "200"})
    assert "float32+int4" in after.output
    assert "1 of 1" in after.output or "0 of 1" in after.output
