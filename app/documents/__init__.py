"""Documents: files of known formats, read into blocks in a process of their own, kept as pieces to recall."""
