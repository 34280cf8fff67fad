"""What a pattern of the rules is."""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """Of a match, group `v` is the value, `k` goes into the key, and `who` is the subject if not the speaker.

    `may_follow`: whether the pattern may stand behind these words of its sentence. `refused`: what no value
    is, where it fits all of it. `ends`: the value no longer holds.
    """

    key: str
    pattern: re.Pattern[str]
    may_follow: Callable[[str], bool]
    refused: re.Pattern[str]
    ends: bool = False

    def takes(self, value: str) -> bool:
        return not self.refused.match(value) if value else self.ends
