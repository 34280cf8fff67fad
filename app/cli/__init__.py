"""The command line, `perdure`: one file a command."""
