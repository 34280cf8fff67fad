"""The model: a decoder-only transformer, one part a file."""
