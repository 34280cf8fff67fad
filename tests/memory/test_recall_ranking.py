"""What a search finds and in which order: cues lift, neighbours come along, and nothing depends on chance."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory.recall.features import FEATURES, Matches
from memory.recall.passage import Passage
from memory.recall.protocols import Filter
from memory.recall.ranking import WEIGHTS, Ranked, rank, spread
from tests.memory.naive_recall import START, NaiveIndexes, WordEmbedder, asking, meets, said

WORDS = ("tea", "dog", "blue", "house", "sister", "ran", "sea", "yesterday", "May", "why?")
chats = st.lists(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=8),
    min_size=1,
    max_size=4,
).map(lambda found: [said(*texts, source=f"ses_{n}", days=20 * n) for n, texts in enumerate(found)])
questions = st.lists(st.sampled_from((*WORDS, "Ada", "Bo", "I", "when")), max_size=5).map(" ".join)


def found(passages: Sequence[Passage], text: str, limit: int = 100) -> Sequence[Ranked]:
    return asyncio.run(NaiveIndexes({"shelf": passages}).searcher().search(asking(text), limit))


def best(passages: Sequence[Passage], text: str) -> str:
    return found(passages, text)[0].passage.text


def test_every_feature_has_a_weight() -> None:
    assert set(WEIGHTS) == set(FEATURES)


def test_a_match_by_words_or_by_sense_alone_counts_more_than_half_a_match_by_both() -> None:
    passages = [
        passage for number in range(3) for passage in said("It was so.", source=f"ses_{number}", days=number)
    ]
    words, sense, both = (passage.key for passage in passages)
    found = Matches({words: 1.0, both: 0.5}, {sense: 1.0, both: 0.5}, {})
    ranked = rank("Was it?", START, passages, found, WordEmbedder().embed_words)
    assert ranked[-1].passage.key == both


@settings(deadline=None, max_examples=50)
@given(chats, questions, st.randoms(use_true_random=False))
def test_the_order_is_the_same_however_the_parts_give_their_passages(
    chat: list[list[Passage]], question: str, chance: random.Random
) -> None:
    passages = [passage for each in chat for passage in each]
    mixed = chance.sample(passages, len(passages))
    assert found(passages, question) == found(mixed, question)


@settings(deadline=None, max_examples=50)
@given(chats, questions)
def test_scores_fall_and_no_passage_comes_twice(chat: list[list[Passage]], question: str) -> None:
    ranked = found([passage for each in chat for passage in each], question)
    assert [each.score for each in ranked] == sorted((each.score for each in ranked), reverse=True)
    assert len({each.passage.key for each in ranked}) == len(ranked)


def test_a_chat_that_says_a_thing_over_and_over_does_not_crowd_out_the_others() -> None:
    scores = np.array([5.0, 4.9, 4.8, 4.7, 4.65])
    spread_out = spread(scores, np.array([0, 0, 0, 0, 1]))
    assert list(np.argsort(-spread_out)) == [0, 1, 4, 2, 3]
    assert list(spread(scores, np.arange(5))) == list(scores)


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 2)), max_size=20))
def test_within_an_episode_the_order_stays(given_scores: list[tuple[float, int]]) -> None:
    scores = np.array([score for score, _ in given_scores])
    after = spread(scores, np.array([episode for _, episode in given_scores], dtype=np.intp))
    for episode in range(3):
        of_it = [place for place, (_, number) in enumerate(given_scores) if number == episode]
        by_score = sorted(of_it, key=lambda place: (-scores[place], place))
        assert all(after[one] >= after[next_] for one, next_ in pairwise(by_score))


def test_a_limit_cuts_the_same_order() -> None:
    passages = said(*(f"the dog {n}" for n in range(30)))
    assert found(passages, "dog 7", limit=5) == found(passages, "dog 7")[:5]


@pytest.mark.parametrize("question", ["", "  ", "?!", "…"])
def test_a_question_that_says_nothing_finds_nothing(question: str) -> None:
    assert found(said("a dog"), question) == []


def test_an_empty_shelf_and_a_shelf_beside_are_searched_as_one() -> None:
    indexes = NaiveIndexes({"none": [], "one": said("a dog"), "two": said("the sea", source="ses_2")})
    ranked = asyncio.run(indexes.searcher().search(asking("dog at sea", "none", "one", "two")))
    assert {each.passage.text for each in ranked} == {"a dog", "the sea"}


def test_what_the_store_does_not_have_is_not_found() -> None:
    passages = said("my dog is called Rex", "what a dog")
    indexes = NaiveIndexes({"shelf": passages})
    del indexes.kept[passages[0].key]
    ranked = asyncio.run(indexes.searcher().search(asking("dog Rex")))
    assert [each.passage for each in ranked] == passages[1:]


@settings(deadline=None, max_examples=50)
@given(
    chats,
    questions,
    st.builds(
        Filter,
        source=st.sampled_from([None, "ses_0", "ses_1"]),
        speaker=st.sampled_from([None, "Ada"]),
        role=st.sampled_from([None, "assistant"]),
        since=st.sampled_from([None, START + timedelta(days=10)]),
        until=st.sampled_from([None, START + timedelta(days=30)]),
    ),
)
def test_a_filter_holds_for_neighbours_too(chat: list[list[Passage]], question: str, where: Filter) -> None:
    indexes = NaiveIndexes({"shelf": [passage for each in chat for passage in each]})
    ranked = asyncio.run(indexes.searcher().search(asking(question, where=where)))
    assert all(meets(each.passage, where) for each in ranked)


def test_the_answer_to_a_question_that_matches_is_found_though_it_shares_no_word() -> None:
    talk = ["I had tea.", "Good.", "It rained.", "Yes."]
    passages = said(*talk, "What is your dog called?", "Rex, after the old one.", *talk)
    assert "Rex, after the old one." in [
        each.passage.text for each in found(passages, "What is the dog called?")[:2]
    ]


def test_the_speaker_who_is_named_comes_first() -> None:
    passages = said("I like swimming in the sea", "I like swimming in the sea")
    assert found(passages, "What does Ada like?")[0].passage.speaker == "Ada"
    assert found(passages, "What does Bo like?")[0].passage.speaker == "Bo"


def test_i_and_you_mean_the_user_and_the_persona() -> None:
    passages = said("I like swimming in the sea", "I like swimming in the sea")
    assert found(passages, "What is my sport? swimming")[0].passage.role == "user"
    assert found(passages, "What is your sport? swimming")[0].passage.role == "assistant"


@pytest.mark.parametrize("question", ["What did we cook in May?", "5월에 cook"])
def test_the_time_that_is_meant_comes_first(question: str) -> None:
    chat = [said("We did cook some soup", source=f"ses_{n}", days=30 * n) for n in range(9)]
    ranked = found([passage for each in chat for passage in each], question)
    assert ranked[0].passage.said_at is not None
    assert ranked[0].passage.said_at.month == 5
    assert "the time that is meant" in ranked[0].why


def test_what_tells_a_time_answers_when() -> None:
    passages = said("I saw the sea again", "Nice.", "Hm.", "I saw the sea again yesterday", "Nice.")
    assert best(passages, "When did she see the sea?") == "I saw the sea again yesterday"


def test_korean_is_found_by_parts_of_its_words() -> None:
    passages = said("고양이를 키우고 있어요", "바다에 갔어요", "비가 왔어요", "좋아요")
    assert best(passages, "고양이는 어때?") == "고양이를 키우고 있어요"
