"""Recall for the chat sessions: what was said is put on shelves, indexed, searched and shown."""
