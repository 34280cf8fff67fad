"""What a pattern of the rules is, and how the tables of a language are written."""

import re
from collections.abc import Callable
from dataclasses import dataclass

REFUSES_NOTHING = re.compile(r"(?!)")

MayFollow = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """Of a match, group `v` is the value, `k` goes into the key, and `who` is the subject if not the speaker.

    `may_follow`: whether the pattern may stand behind these words of its sentence. `refused`: what no value
    is, where it fits all of it. `ends`: the value no longer holds.
    """

    key: str
    pattern: re.Pattern[str]
    may_follow: MayFollow
    refused: re.Pattern[str]
    ends: bool = False

    def takes(self, value: str) -> bool:
        return not self.refused.match(value) if value else self.ends


def rules(
    key: str,
    *patterns: str,
    may_follow: MayFollow,
    refused: re.Pattern[str],
    ends: bool = False,
    flags: re.RegexFlag = re.NOFLAG,
) -> tuple[Rule, ...]:
    """A rule for each of the patterns of one key."""
    return tuple(Rule(key, re.compile(each, flags), may_follow, refused, ends) for each in patterns)
