"""The service: HTTP API, storage, the turn, and the command line. Stands on `memory` and `llm`."""

from importlib.metadata import version

__version__ = version("perdure")
