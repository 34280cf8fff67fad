"""The service: HTTP API, storage, the turn, and the command line. Stands on `memory` and `llm`."""

import os
from importlib.metadata import version

__version__ = version("perdure")

# numpy's BLAS would spread products of a millisecond over all cores, where its threads go on turning after
# each, at the cost of the model's. It reads this when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
