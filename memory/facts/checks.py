"""Checks of what is to be a fact: what its message does not say, or does not say as so, is refused."""

import re
from collections.abc import Iterator

from memory.facts.fact import NEGATIVE, TO_REMEMBER, Found, words_of

LONGEST_VALUE = 300
LONGEST_KEY = 40

_TEMPLATE = re.compile(
    r"\{\{.*?\}\}|<\|.*?\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:user|char|bot|start_of_turn|end_of_turn)>"
    r"|^#{2,} ?\w"
    r"|\{[a-z_]+\}|<START>|^(?:system|user|assistant|human|ai)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)]*(?:\s+|$)|[。！？]+|\n+")
_GOES_ON = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|vs|etc|e\.g|i\.e|No)\.$|^\W*(?:hi|hello|hey)(?: there| again)?[.!]$",
    re.IGNORECASE,
)
"""What a sentence goes on behind: an abbreviation, a greeting."""
_QUESTION = re.compile(r"[?？]|(?:습니까|나요|을까요?|ㄹ까요?|할까|인가요|던가)[\s.!…~]*$")
_SUPPOSED = re.compile(
    r"\b(?:if|unless|would|i'd|could|might|(?-i:may)|maybe|perhaps|probably|possibly|wish|imagine|imagining"
    r"|suppose|supposing|pretend|pretending|what if|hypothetically|as though|say i|let's say|dreamt|dreamed"
    r"|dream that|dream of|almost|nearly|joking|kidding|role ?play|someday|one day)\b"
    r"|만약|만일|라면|다면|으면 좋겠|면 좋겠|텐데|상상|가정해|척하|척 해|꿈에서|아마|일지도|것 같|뻔했"
    r"|농담|언젠가",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:not|never|no longer|cannot|nobody|no one|neither|nor|hardly|without|used to)\b|n['’]t\b"
    r"|지 않|지않|지 못|아니|없|(?<!\w)(?:안|못) ",
    re.IGNORECASE,
)
_REPORTED = re.compile(
    r"\b(?:says?|said|thinks?|believes?|claims?|told|asked|character|song|lyrics?|novel|movie|story)\b"
    r"|(?:라고|다고|냐고|자고) (?:말|했|하|물|생각)|등장인물|소설|노래 가사",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"“«「『][^\"”»」』]*[\"”»」』]")


class Source:
    """What a message says, looked through once for all the facts that are found in it."""

    def __init__(self, content: str) -> None:
        self.content = content
        self.is_template = _TEMPLATE.search(content) is not None
        """Whether it holds what a template leaves: its markers, or the roles of a pasted prompt."""
        self.sentences = tuple(_sentences(content))
        """Where its sentences begin and end, their end marks included."""
        self._in_marks = [quoted.span() for quoted in _QUOTED.finditer(content)]

    def says(self, found: Found) -> bool:
        """Whether it says so in the quote, and means it."""
        return self.refusal(found) is None

    def refusal(self, found: Found) -> str | None:
        """Why something is no fact; None if the message says so in the quote, and means it."""
        quote = self.content[found.start : found.end]
        if not 0 <= found.start < found.end <= len(self.content) or not quote.strip():
            return "its quote is not in the message"
        if self.is_template:
            return "the message is template text"
        if not found.key.strip() or len(found.key) > LONGEST_KEY or len(found.value) > LONGEST_VALUE:
            return "its key or its value is too long, or empty"
        if not found.value and found.ends is None:
            return "it says nothing"
        for part in (found.value, found.ends):
            if part and not _occurs(part, quote):
                return f"its quote does not say {part!r}"
        return self._not_meant(found, quote)

    def _not_meant(self, found: Found, quote: str) -> str | None:
        """Why what the quote says is not so."""
        if found.key != TO_REMEMBER:
            around = self._around(found)
            if _QUESTION.search(around):
                return "it stands in a question"
            if _SUPPOSED.search(around):
                return "it is supposed, not said to be so"
        may_deny = found.ends is not None or found.key in NEGATIVE or found.key == TO_REMEMBER
        if not may_deny and _DENIED.search(quote):
            return "its quote is a denial"
        if any(start < found.start and found.end < end for start, end in self._in_marks):
            return "it stands in quotation marks: somebody else's words"
        return None

    def _around(self, found: Found) -> str:
        """The sentences that a quote touches."""
        touched = [span for span in self.sentences if span[0] < found.end and found.start < span[1]]
        return self.content[touched[0][0] : touched[-1][1]] if touched else self.content


def is_denied_or_reported(before: str) -> bool:
    """Whether what comes behind these words of a sentence is denied, or told as another's words."""
    return bool(_DENIED.search(before) or _REPORTED.search(before))


def _sentences(content: str) -> Iterator[tuple[int, int]]:
    start = 0
    for end in _SENTENCE_END.finditer(content):
        if _GOES_ON.search(content[start : end.start() + 1]):
            continue
        if content[start : end.end()].strip():
            yield start, end.end()
        start = end.end()
    if content[start:].strip():
        yield start, len(content)


def _occurs(part: str, quote: str) -> bool:
    """Whether the quote says it, but for case, spaces and articles: its words, in a row."""
    words, said = words_of(part), words_of(quote)
    if not words:
        return False
    rows = (said[start : start + len(words)] for start in range(len(said) - len(words) + 1))
    return words in rows or "".join(part.casefold().split()) in "".join(quote.casefold().split())
