"""The extractor that needs no model: patterns of how people tell of themselves, in English and Korean.

Precise rather than many: a sentence that is a question, a supposition, a denial or another's words tells
nothing, and neither does a pattern in the middle of a clause.
"""

import asyncio
from collections.abc import Iterator, Sequence

from memory.facts import english, korean
from memory.facts.checks import Source
from memory.facts.extractor import Extracted, about, distinct
from memory.facts.fact import USER, Found
from memory.facts.rule import Rule
from memory.messages import Message

AUTHOR = "rules"
MOST_FOUND = 40
"""Facts of one message: more than anybody tells of themselves at once is no chat."""
LONGEST_SENTENCE = 1000
"""Characters; a longer one is no sentence that somebody says, and takes the patterns too long."""

RULES = (*english.RULES, *korean.RULES)
TO_REMEMBER_RULES = (*english.TO_REMEMBER_RULES, *korean.TO_REMEMBER_RULES)


class RuleExtractor:
    """Needs no language model."""

    batch = 100

    async def extract(self, message: Message) -> Extracted:
        return Extracted(await asyncio.to_thread(facts_by_rules, message), AUTHOR)


def facts_by_rules(message: Message) -> tuple[Found, ...]:
    """The facts that the patterns find in a message, in the order in which it tells them."""
    subject = about(message)
    if subject is None or (source := Source(message.content)).is_template:
        return ()
    found = [
        each
        for start, end in source.sentences
        if end - start <= LONGEST_SENTENCE
        for each in _of_sentence(subject, source.content, start, end)
        if source.says(each)
    ]
    return distinct(sorted(found, key=lambda each: each.start))[:MOST_FOUND]


def _of_sentence(subject: str, content: str, start: int, end: int) -> Iterator[Found]:
    asked = [] if subject != USER else list(_found(TO_REMEMBER_RULES, subject, content, start, end))
    yield from asked
    for each in _found(RULES, subject, content, start, end):
        # A pattern may find more exactly what is to be remembered, but not run into it from before.
        if not any(each.start < request.start < each.end for request in asked):
            yield each


def _found(rules: Sequence[Rule], subject: str, content: str, start: int, end: int) -> Iterator[Found]:
    sentence = content[start:end]
    for rule in rules:
        for match in rule.pattern.finditer(sentence):
            if not rule.may_follow(sentence[: match.start()]):
                continue
            groups = match.groupdict()
            value = (groups.get("v") or "").strip(" '\"“”‘’")
            if not rule.takes(value):
                continue
            who = (groups.get("who") or "").strip().casefold() or subject
            yield Found(
                subject=who,
                key=rule.key.format(k=" ".join((groups.get("k") or "").casefold().split())),
                value="" if rule.ends else value,
                start=start + match.start(),
                end=start + match.end(),
                ends=value if rule.ends else None,
            )
