"""The memory layer: what goes into the context window.

Strategies, the persona and the assembly of the context. No HTTP, no SQL, no torch: what is needed of the
model and of storage is handed in as the protocols of `memory.protocols`.
"""
