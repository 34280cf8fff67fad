"""Summaries of turns that have left the window: made off the turn's path, each turn once."""
