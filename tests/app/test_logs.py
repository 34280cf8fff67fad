"""What the logs say, and how loudly."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
import structlog

from app.logs import configure_logs
from app.settings import Settings

POOL = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # else setting the logs up would close those of the test run
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def report(error: BaseException) -> None:
    logging.getLogger(POOL).error("Exception during reset or similar", exc_info=error)


def test_a_roll_back_that_was_cancelled_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(Settings(log_level="info"))
    report(asyncio.CancelledError())
    assert capsys.readouterr().err == ""
    configure_logs(Settings(log_level="debug"))
    report(asyncio.CancelledError())
    [line] = capsys.readouterr().err.splitlines()
    assert "debug" in line
    assert "Exception during reset" in line


def test_a_roll_back_that_fails_is_an_error_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(Settings(log_level="info"))
    report(OSError("the disk is gone"))
    said = capsys.readouterr().err
    assert "error" in said
    assert "the disk is gone" in said
