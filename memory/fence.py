"""The fence around what others wrote, where the system tells of it: each of its lines is indented.

Nothing else is. So no line of a message, a document or a summary can pass for a heading, for another's
words, or for the system's own, whatever it says: there is no closing mark that it could hold.
"""

INDENT = "  "


def fenced(text: str) -> str:
    """A text with each of its lines indented, whatever ends them."""
    return "\n".join(INDENT + line for line in text.splitlines())


def quoted(text: str) -> str:
    """What goes on in a fenced line, as behind a name: further lines are indented twice."""
    return f"\n{INDENT * 2}".join(text.splitlines())


def one_line(text: str) -> str:
    """A name or a title, which may not begin a line of its own."""
    return " ".join(text.split())
