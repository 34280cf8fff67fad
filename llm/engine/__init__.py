"""The engine: what runs a model. `interface` is all that callers need to know."""
