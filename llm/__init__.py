"""The language model: attention, KV cache, sampling, tokeniser, and the engine that runs it.

Knows nothing of HTTP, storage or memory strategies. Others talk to `llm.engine`.
"""
