"""The chat sessions at work: turns, their contexts, and changes of what was said."""
