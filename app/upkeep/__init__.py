"""What is derived from a session's messages: summaries and facts, brought up off the turn's path."""
