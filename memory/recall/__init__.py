"""Recall: what was said before and matters for this message, out of any number of chats."""
