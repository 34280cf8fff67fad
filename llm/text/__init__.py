"""Text in and out of the model: tokeniser, chat format, streaming detokeniser, stop strings."""
