"""The summariser that has a language model write. What it writes is checked, and refused if it is no good."""

from collections.abc import Sequence

from memory.errors import NotWrittenError, SummaryRefusedError
from memory.fence import quoted
from memory.messages import Message
from memory.protocols import Write
from memory.summaries.checks import check_summary
from memory.summaries.summariser import CountTokens, Names, Summariser, Task

INSTRUCTIONS = (
    "You keep the notes of a long conversation. From the notes so far and the lines said since, write the "
    "new notes: short sentences in the third person with the names, numbers, dates, wishes and promises "
    "that matter later. Keep what the notes so far say unless the new lines change it. Add nothing that "
    "nobody said. Write the notes alone."
)


class WrittenSummariser:
    """A model writes, by `instructions`. Where its text is refused, `otherwise` serves instead."""

    def __init__(
        self,
        write: Write,
        count_tokens: CountTokens,
        *,
        author: str,
        otherwise: Summariser,
        instructions: str | None = None,
    ) -> None:
        self._write = write
        self._count_tokens = count_tokens
        self._model = author
        self._otherwise = otherwise
        self._instructions = instructions or INSTRUCTIONS
        self.author = author

    async def summarise(self, task: Task) -> str:
        """As `Summariser` says; `author` is afterwards who wrote it."""
        try:
            text = await self._written(task)
            self.author = self._model
        except (NotWrittenError, SummaryRefusedError):
            text = await self._otherwise.summarise(task)
            self.author = self._otherwise.author
        return text

    async def _written(self, task: Task) -> str:
        source = _source(task.previous, task.turns, task.names)
        text = _whole_sentences((await self._write(self._instructions, source, task.max_tokens)).strip())
        check_summary(text, source=source, instructions=self._instructions)
        if self._count_tokens(text) > task.max_tokens:
            raise SummaryRefusedError(f"the summary takes more than {task.max_tokens} tokens")
        return text


def _source(previous: str, turns: Sequence[Message], names: Names) -> str:
    said = "\n".join(f"{names.of(message.role)}: {quoted(message.content)}" for message in turns)
    return f"Notes so far:\n{previous or '(none yet)'}\n\nLines said since:\n{said}"


def _whole_sentences(text: str) -> str:
    """Without a last sentence that the limit cut off."""
    if text.endswith((".", "!", "?", "。", "…")):
        return text
    end = max(text.rfind(mark) for mark in (".", "!", "?", "。", "\n"))
    return text[: end + 1].strip() if end > 0 else text
