"""What a question says of time and persons, in English and in Korean."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.recall.cues import Period, cues, named, period_of, says_time

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("question", "since", "until"),
    [
        ("What did she cook in May?", "2026-05-01", "2026-06-01"),
        ("what did she cook in december", "2025-12-01", "2026-01-01"),
        ("Where was I on 7 May 2023?", "2023-05-07", "2023-05-08"),
        ("Where was I on May 7th, 2023?", "2023-05-07", "2023-05-08"),
        ("Where was I on 2023-05-07?", "2023-05-07", "2023-05-08"),
        ("Who won on 31 June 2023?", "2023-06-01", "2023-07-01"),
        ("Who came last summer?", "2026-06-01", "2026-09-01"),
        ("Who came last autumn?", "2025-09-01", "2025-12-01"),
        ("Who came in the summer of 2022?", "2022-06-01", "2022-09-01"),
        ("Who called yesterday?", "2026-11-20", "2026-11-21"),
        ("Who called last Monday?", "2026-11-16", "2026-11-17"),
        ("Who called last weekend?", "2026-11-14", "2026-11-16"),
        ("Who called last month?", "2026-10-01", "2026-11-01"),
        ("Who called three weeks ago?", "2026-10-28", "2026-11-04"),
        ("What happened in 2022?", "2022-01-01", "2023-01-01"),
        ("5월에 뭐 했어?", "2026-05-01", "2026-06-01"),
        ("2023년 5월 7일에 뭐 했어?", "2023-05-07", "2023-05-08"),
        ("지난 여름에 어디 갔지?", "2026-06-01", "2026-09-01"),
        ("작년 여름에 어디 갔지?", "2025-06-01", "2025-09-01"),
        ("지난주에 누가 전화했지?", "2026-11-09", "2026-11-16"),
        ("지난달에 누가 전화했지?", "2026-10-01", "2026-11-01"),
        ("3주 전에 누가 전화했지?", "2026-10-28", "2026-11-04"),
        ("지난 월요일에 누가 왔지?", "2026-11-16", "2026-11-17"),
        ("어제 누가 왔지?", "2026-11-20", "2026-11-21"),
        ("작년에 누가 왔지?", "2025-01-01", "2026-01-01"),
        ("2022년에 누가 왔지?", "2022-01-01", "2023-01-01"),
    ],
)
def test_a_time_in_a_question_is_read(question: str, since: str, until: str) -> None:
    period = period_of(question, NOW)
    assert period is not None
    assert period == Period(_midnight(since), _midnight(until))


@pytest.mark.parametrize(
    "question",
    [
        "May I ask you something?",
        "It may rain, so we march on.",
        "What about tomorrow?",
        "15월에 뭐 했어?",
        "What is my cat called?",
        "내 고양이 이름이 뭐야?",
        "",
    ],
)
def test_what_is_no_time_of_the_past_is_not_read_as_one(question: str) -> None:
    assert period_of(question, NOW) is None


def test_dates_are_meant_in_the_zone_of_the_one_who_asks() -> None:
    seoul = timezone(timedelta(hours=9))
    period = period_of("어제 뭐 했지?", datetime(2026, 11, 21, 1, tzinfo=seoul))
    assert period is not None
    assert period.since == datetime(2026, 11, 19, 15, tzinfo=UTC)


def test_what_was_said_soon_after_a_time_is_near_it_and_before_it_is_not() -> None:
    period = Period(_midnight("2026-05-01"), _midnight("2026-06-01"))
    assert period.nearness(_midnight("2026-05-20")) == 1
    assert period.nearness(_midnight("2026-06-16")) == pytest.approx(0.5)
    assert period.nearness(_midnight("2026-08-01")) == 0
    assert period.nearness(_midnight("2026-04-30")) == 0


@pytest.mark.parametrize(
    ("question", "speaks"),
    [
        ("What is my cat called?", "user"),
        ("내 고양이 이름이 뭐야?", "user"),
        ("What is your favourite colour?", "assistant"),
        ("네가 좋아하는 색은?", "assistant"),
        ("What did I tell you about her?", None),
        ("Who was at the party?", None),
    ],
)
def test_first_and_second_person_say_whose_turns_are_meant(question: str, speaks: str | None) -> None:
    assert cues(question, NOW).speaks == speaks


@pytest.mark.parametrize(
    "question", ["When did she move?", "How long was it?", "언제 이사했지?", "며칠이었지?"]
)
def test_a_question_for_a_time_is_known(question: str) -> None:
    assert cues(question, NOW).asks_when


@pytest.mark.parametrize(
    "text", ["I went there yesterday.", "It was last Friday.", "Two years ago.", "어제 갔어.", "3주 전이야."]
)
def test_a_text_that_tells_a_time_is_known(text: str) -> None:
    assert says_time(text)
    assert not says_time("I like the sea.")


def test_speakers_are_named_by_a_word_of_their_names() -> None:
    names = ["Ada Lovelace", "Bo", "민지"]
    assert named("What did Ada's mother say?", names) == {"Ada Lovelace"}
    assert named("bo and ada", names) == {"Ada Lovelace", "Bo"}
    assert named("민지는 뭐라고 했어?", names) == {"민지"}
    assert named("What did she say?", names) == frozenset()


@given(
    st.text(max_size=60)
    | st.from_regex(r"(in|last|on|지난)? ?(\d{1,4}|May|summer|월) ?(\d{1,4}|ago|년|월|일|전)?"),
    st.datetimes(datetime(1970, 1, 1), datetime(2400, 1, 1), timezones=st.just(UTC)),
)
def test_any_question_is_read_without_harm(question: str, asked_at: datetime) -> None:
    period = period_of(question, asked_at)
    assert period is None or period.since < period.until
    assert cues(question, asked_at) == cues(question, asked_at)


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
