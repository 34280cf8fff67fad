"""How tests get a local engine of their own."""

from collections.abc import Callable

from llm.engine.local_engine import LocalEngine

StartLocal = Callable[..., LocalEngine]
"""Starts an engine with settings that differ from the tests' usual ones; it is closed after the test."""
