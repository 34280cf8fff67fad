"""What a service imports until it answers, so that the processes of `tests.app.processes` need not."""

import sentence_transformers

import app.cli.main
import app.models.chat
import app.server
import llm.loading

__all__ = ["app", "llm", "sentence_transformers"]
