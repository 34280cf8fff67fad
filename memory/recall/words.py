"""The terms of a text, for the lexical index: the same for what is indexed and for what is asked.

Words of alphabetic scripts are casefolded and stemmed (Snowball's English stemmer leaves other languages'
words mostly alone). Korean, Chinese, Japanese and Thai, which put no spaces between all words or glue
particles to them, give overlapping pairs of characters, as Lucene's CJK analyser does.
"""

import re
import threading
import unicodedata
from functools import lru_cache

import Stemmer

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_UNSPACED = re.compile(
    r"[\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    r"\uf900-\ufaff\U00020000-\U0003ffff]+"
)

_local = threading.local()


def terms(text: str) -> list[str]:
    """The terms of a text, in order; none for a text without a letter or digit."""
    folded = _folded(text)
    parts = _WORD.findall(folded)
    if folded.isascii() or not _UNSPACED.search(folded):
        return [stem for part in parts if (stem := _stem(part))]
    found: list[str] = []
    for word in parts:
        at = 0
        for run in _UNSPACED.finditer(word):
            found += _stems(word[at : run.start()])
            found += _pairs(run.group())
            at = run.end()
        found += _stems(word[at:])
    return found


def words(text: str) -> list[str]:
    """The words of a text, in order, as they stand but for capitals and an owner's "'s"."""
    return [_without_owner(word) for word in _WORD.findall(_folded(text))]


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


def _stems(word: str) -> list[str]:
    return [stem] if (stem := _stem(word)) else []


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _without_owner(word: str) -> str:
    return word.replace("’", "'").removesuffix("'s")


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    """Empty for a word of apostrophes only, or of none."""
    word = _without_owner(word).replace("'", "")
    return _stemmer().stemWord(word) if word else ""


def _stemmer() -> Stemmer.Stemmer:
    """One for each thread: a stemmer must not be shared."""
    if not hasattr(_local, "stemmer"):
        _local.stemmer = Stemmer.Stemmer("english")
    return _local.stemmer


GRAMMAR = frozenset(
    terms(
        "what which who whom whose when where why how do does did is are was were be been has have had a an "
        "the of in on at to for with by from and or not if as about during it its this that they their he "
        "his she her i me my you your we would could should can will"
    )
)
"""Terms that say nothing of what is asked about."""
