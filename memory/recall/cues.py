"""Cues: what a question says of who spoke and when, in English and in Korean.

They only lift passages, never exclude one: a cue may be misread, and people remember dates wrongly.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal

from memory.recall.words import terms

MONTHS = ["january", "february", "march", "april", "may", "june"]
MONTHS += ["july", "august", "september", "october", "november", "december"]
_SEASONS = {
    "spring": 3,
    "summer": 6,
    "autumn": 9,
    "fall": 9,
    "winter": 12,
    "봄": 3,
    "여름": 6,
    "가을": 9,
    "겨울": 12,
}
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_NUMBERS = {
    "a": 1,
    "an": 1,
    "one": 1,
    "two": 2,
    "a couple of": 2,
    "three": 3,
    "a few": 3,
    "four": 4,
    "five": 5,
    "six": 6,
}
_UNIT_DAYS = {
    "day": 1,
    "week": 7,
    "month": 30,
    "year": 365,
    "일": 1,
    "주": 7,
    "개월": 30,
    "달": 30,
    "년": 365,
}

_MONTH = f"(?P<month>{'|'.join([*MONTHS, *(name[:3] for name in MONTHS if name != 'may'), 'sept'])})"
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_SEASON = "(?P<season>spring|summer|autumn|fall|winter)"
_UNIT = "(?P<unit>week|weekend|month|year)"
_COUNT = rf"(?P<count>\d{{1,3}}|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
_BEFORE_MONTH = r"(?:in|of|on|since|by|during|until|last|this|early|late|mid|around|before|after)[\s-]"

_SAYS_TIME = re.compile(
    rf"\b(?:today|tonight|tomorrow|yesterday|ago|weekend|recently|soon|(?:last|next|this|past|few|coming) "
    rf"(?:night|morning|day|week|month|year|spring|summer|autumn|fall|winter)s?|{'|'.join(WEEKDAYS)}"
    rf"|{'|'.join(name for name in MONTHS if name not in ('may', 'march'))}|(?:19|20)\d\d)\b"
    r"|어제|그제|그저께|오늘|내일|모레|지난|이번|다음|작년|올해|내년|\d+\s?월"
    r"|\d+\s?(?:일|주|개월|달|년)\s?(?:전|후|뒤)"
)
"""For texts in lower case: ignoring case, it takes ten times as long."""
_HINTS = (
    *("day", "night", "tomorrow", "ago", "week", "recent", "soon", "morning", "month", "year", "19", "20"),
    *(name for name in (*MONTHS, *_SEASONS) if name not in ("may", "march")),
    *("어제", "그제", "그저께", "오늘", "내일", "모레", "지난", "이번", "다음", "작년", "올해", "내년", "월"),
    *("전", "후", "뒤"),
)
"""Each time that is told has one of these in it: looking for them first takes a tenth of the time."""
_ASKS_WHEN = re.compile(
    r"\b(?:when|(?:what|which) (?:date|day|week|month|year|time|season)|how (?:long|often))\b"
    r"|언제|며칠|몇\s?(?:월|일|년|시)|얼마나 (?:오래|자주)",
    re.IGNORECASE,
)
_I = re.compile(
    r"\b(?:i|me|my|mine|myself)\b|(?<!\w)(?:내|나|저|제)(?:가|는|도|를|의|한테|게)?(?!\w)", re.IGNORECASE
)
_YOU = re.compile(
    r"\b(?:you|your|yours|yourself)\b|(?<!\w)(?:너|네|당신)(?:가|는|도|를|의|한테|은|이|을)?(?!\w)",
    re.IGNORECASE,
)

Speaking = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time, `until` not included."""

    since: datetime
    until: datetime

    def nearness(self, moment: datetime) -> float:
        """1 within, falling to 0 a month later: people tell what happened soon after it did."""
        if moment < self.since:
            return 0.0
        late = max(timedelta(0), moment - self.until)
        return max(0.0, 1 - late / timedelta(days=30))


@dataclass(frozen=True, slots=True)
class Cues:
    """`speaks`: whose turns a question of first or second person is about; None where it is unclear."""

    period: Period | None
    asks_when: bool
    speaks: Speaking | None


def cues(question: str, asked_at: datetime) -> Cues:
    """What the question says of time and persons. `asked_at` has a zone, in which its dates are meant."""
    i, you = bool(_I.search(question)), bool(_YOU.search(question))
    return Cues(
        period=period_of(question, asked_at),
        asks_when=bool(_ASKS_WHEN.search(question)),
        speaks=None if i == you else "user" if i else "assistant",
    )


def says_time(text: str) -> bool:
    """Whether a text tells a time: "yesterday", "last week", "in June"."""
    folded = text.lower()
    return any(hint in folded for hint in _HINTS) and bool(_SAYS_TIME.search(folded))


def named(question: str, names: Collection[str]) -> frozenset[str]:
    """Those of the names that the question mentions, whole or by a word of them."""
    asked = set(terms(question))
    return frozenset(name for name in names if asked.intersection(terms(name)))


def period_of(question: str, asked_at: datetime) -> Period | None:
    """The time that the question names, the latest that is not after `asked_at` where it names no year."""
    for pattern, read in _READERS:
        if (found := pattern.search(question)) and (days := read(found, asked_at.date())):
            since, until = (datetime.combine(day, time(), asked_at.tzinfo) for day in days)
            return Period(since, until)
    return None


Days = tuple[date, date]
Reader = Callable[[re.Match[str], date], Days | None]


def _iso(found: re.Match[str], _today: date) -> Days | None:
    return _day(*(int(found[group]) for group in ("year", "month", "day")))


def _month(found: re.Match[str], today: date) -> Days | None:
    groups = found.groupdict()
    month = int(groups["month"]) if groups["month"].isdigit() else _month_number(groups["month"])
    if not 1 <= month <= 12:
        return None
    year = int(groups["year"]) if groups.get("year") else today.year - (month > today.month)
    if groups.get("day"):
        return _day(year, month, int(groups["day"]))
    return date(year, month, 1), _first_of(year, month + 1)


def _season(found: re.Match[str], today: date) -> Days:
    groups = found.groupdict()
    first = _SEASONS[groups["season"].casefold()]
    if groups.get("year"):
        return _months(int(groups["year"]), first, 3)
    begun = today.year - (date(today.year, first, 1) > today)
    this_one = _months(begun, first, 3)
    if (groups.get("which") or "").casefold() in ("last", "past") and today < this_one[1]:
        return _months(begun - 1, first, 3)
    if groups.get("which") == "작년":
        return _months(today.year - 1, first, 3)
    return this_one


def _weekday(found: re.Match[str], today: date) -> Days:
    names = WEEKDAYS if found["weekday"].isascii() else "월화수목금토일"
    back = (today.weekday() - names.index(found["weekday"].casefold())) % 7 or 7
    return today - timedelta(back), today - timedelta(back - 1)


def _unit(found: re.Match[str], today: date) -> Days:
    """The last or this week, weekend, month, year."""
    back = 0 if found["which"].casefold() in ("this", "이번", "올") else 2 if found["which"] == "재작" else 1
    unit = {"주": "week", "주말": "weekend", "달": "month", "해": "year", "년": "year"}.get(
        found["unit"], found["unit"].casefold()
    )
    if unit == "year":
        return date(today.year - back, 1, 1), date(today.year - back + 1, 1, 1)
    if unit == "month":
        return _first_of(today.year, today.month - back), _first_of(today.year, today.month - back + 1)
    monday = today - timedelta(today.weekday() + 7 * back)
    return (monday if unit == "week" else monday + timedelta(5)), monday + timedelta(7)


def _ago(found: re.Match[str], today: date) -> Days:
    """So many days, weeks, months or years ago, as vague as the unit."""
    count = found["count"].casefold()
    unit = _UNIT_DAYS[found["unit"].casefold()]
    day = today - timedelta(min((int(count) if count.isdigit() else _NUMBERS[count]) * unit, 100 * 365))
    slack = timedelta(unit // 2)
    return day - slack, day + slack + timedelta(1)


def _near(found: re.Match[str], today: date) -> Days:
    back = {"yesterday": 1, "last night": 1, "어제": 1, "today": 0, "오늘": 0}.get(found[0].casefold(), 2)
    return today - timedelta(back), today - timedelta(back - 1)


def _year(found: re.Match[str], _today: date) -> Days:
    year = int(found["year"])
    return date(year, 1, 1), date(year + 1, 1, 1)


def _day(year: int, month: int, day: int) -> Days | None:
    try:
        first = date(year, month, day)
    except ValueError:  # 31 June
        return None
    return first, first + timedelta(1)


def _months(year: int, first: int, count: int) -> Days:
    return _first_of(year, first), _first_of(year, first + count)


def _first_of(year: int, month: int) -> date:
    """The first of a month that may be counted past either end of the year."""
    return date(year + (month - 1) // 12, (month - 1) % 12 + 1, 1)


def _month_number(name: str) -> int:
    return next(n for n, month in enumerate(MONTHS, 1) if month.startswith(name.casefold()[:3]))


def _readers() -> Iterator[tuple[re.Pattern[str], Reader]]:
    """The most exact first."""
    ignoring_case = re.IGNORECASE
    day = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
    capital = "(?P<month>May|March)"  # else they are verbs
    yield re.compile(rf"\b{_YEAR}-(?P<month>\d\d)-(?P<day>\d\d)\b"), _iso
    yield re.compile(rf"\b{day}(?: of)? {_MONTH}\b(?:,? {_YEAR})?", ignoring_case), _month
    yield re.compile(rf"\b{_MONTH} {day}\b(?:,? {_YEAR})?", ignoring_case), _month
    yield re.compile(rf"\b{_MONTH},? (?:of )?{_YEAR}\b", ignoring_case), _month
    yield re.compile(rf"\b{_BEFORE_MONTH}{_MONTH}\b", ignoring_case), _month
    yield re.compile(rf"(?<=\s){capital}\b"), _month
    yield re.compile(rf"\b(?!may\b|march\b|mar\b){_MONTH}\b", ignoring_case), _month
    yield re.compile(rf"(?:{_YEAR}년\s?)?(?<!\d)(?P<month>\d{{1,2}})월(?:\s?(?P<day>\d{{1,2}})일)?"), _month
    yield re.compile(rf"\b{_SEASON},? (?:of |in )?{_YEAR}\b", ignoring_case), _season
    yield re.compile(rf"{_YEAR}년\s?(?P<season>봄|여름|가을|겨울)"), _season
    yield re.compile(r"(?:(?P<which>작년|지난)\s?)?(?P<season>봄|여름|가을|겨울)(?=\s|에|$)"), _season
    yield re.compile(rf"\b(?P<which>last|past|this|the|in|over) {_SEASON}\b", ignoring_case), _season
    yield re.compile(rf"\b{_COUNT} (?P<unit>day|week|month|year)s? ago\b", ignoring_case), _ago
    yield re.compile(r"(?P<count>\d{1,3})\s?(?P<unit>일|주|개월|달|년)\s?전"), _ago
    yield re.compile(rf"\b(?:last|past|on) (?P<weekday>{'|'.join(WEEKDAYS)})\b", ignoring_case), _weekday
    yield re.compile(r"지난\s?(?P<weekday>[월화수목금토일])요일"), _weekday
    yield re.compile(rf"\b(?P<which>last|past|this) {_UNIT}\b", ignoring_case), _unit
    yield re.compile(r"(?P<which>지난|이번)\s?(?P<unit>주말|주|달|해)"), _unit
    yield re.compile(r"(?P<which>재작|작|올)(?P<unit>년|해)"), _unit
    yield (
        re.compile(
            r"\b(?:yesterday|last night|today|the day before yesterday)\b|어제|오늘|그제|그저께",
            ignoring_case,
        ),
        _near,
    )
    yield re.compile(rf"\b(?:in|during|of|since|from) {_YEAR}\b", ignoring_case), _year
    yield re.compile(rf"(?<!\d){_YEAR}년"), _year


_READERS = tuple(_readers())
