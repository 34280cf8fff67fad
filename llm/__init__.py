"""The language model: attention, KV cache, sampling, tokeniser, and the engine that runs it.

Knows nothing of HTTP, storage or memory strategies. Others talk to `llm.engine`.
"""

import os

# Threads of the model that wait for each other sleep instead of spinning: on a machine that does anything
# else, spinning ones starve those they wait for. Read when torch is loaded, so before any import of it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
