"""The two indexes of recall: what is added is found, what is removed is gone, and a damaged one is empty."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from memory.errors import IndexUnavailableError
from memory.recall.dense import ChromaIndex, chroma_server, embedded_chroma
from memory.recall.exact import SMALL
from memory.recall.lexical import TantivyIndex
from memory.recall.passage import Passage, PassageKey
from memory.recall.protocols import Filter
from tests.traces import files_with

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
WIDTH = 16


def passage(number: int, *, source: str = "ses_a", speaker: str = "Ada", hours: int | None = None) -> Passage:
    return Passage(
        PassageKey(source, number),
        f"text {number}",
        speaker=speaker,
        role="user" if speaker == "Ada" else "assistant",
        said_at=START + timedelta(hours=number if hours is None else hours),
    )


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    made = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


@pytest.fixture
def dense(tmp_path: Path) -> Iterator[ChromaIndex]:
    index = ChromaIndex(embedded_chroma(tmp_path / "chroma"), "model-a")
    yield index
    index.close()


@pytest.fixture
def lexical(tmp_path: Path) -> TantivyIndex:
    return TantivyIndex(tmp_path / "lexical")


def test_a_dense_search_of_a_small_shelf_finds_exactly_the_nearest(dense: ChromaIndex) -> None:
    made = vectors(300)
    made[100:200] = made[100]  # as when the same has been said a hundred times
    dense.add("shf_1", [passage(n) for n in range(300)], made)
    asked = vectors(1, seed=7)[0]
    found = dense.search("shf_1", asked.tolist(), 50)
    scores = made @ asked
    expected = sorted(range(300), key=lambda n: (-scores[n], n))[:50]
    assert {hit.key.number for hit in found} == set(expected)
    assert [hit.score for hit in found] == pytest.approx([scores[n] for n in expected], abs=1e-5)


def test_a_dense_search_of_a_large_shelf_finds_nearly_all_of_the_nearest_and_the_same_again(
    dense: ChromaIndex,
) -> None:
    made = vectors(SMALL + 500)
    dense.add("shf_1", [passage(n) for n in range(len(made))], made)
    found = 0
    for asked in vectors(10, seed=7):
        expected = set(np.argsort(-(made @ asked), kind="stable")[:50].tolist())
        hits = dense.search("shf_1", asked.tolist(), 50)
        assert hits == dense.search("shf_1", asked.tolist(), 50)
        found += len(expected & {hit.key.number for hit in hits})
    assert found >= 0.98 * 500


def test_a_shelf_that_grows_large_and_small_again_gives_all_that_is_on_it_and_no_more(
    dense: ChromaIndex,
) -> None:
    made = vectors(SMALL + 2)

    def found(asked: int, limit: int) -> list[int]:
        return [hit.key.number for hit in dense.search("shf_1", made[asked].tolist(), limit)]

    dense.add("shf_1", [passage(n) for n in range(SMALL + 1)], made[:-1])
    assert found(SMALL, 1) == [SMALL]
    dense.add("shf_1", [passage(SMALL + 1)], made[-1:])
    assert found(SMALL + 1, 1) == [SMALL + 1]
    dense.remove("shf_1", [PassageKey("ses_a", n) for n in range(3, SMALL + 2)])
    assert sorted(found(0, 50)) == [0, 1, 2]
    dense.remove("shf_1", [PassageKey("ses_a", n) for n in range(3)])
    assert found(0, 50) == []


@pytest.mark.parametrize("count", [40, SMALL + 40])
def test_filters_hold_in_dense_searches_of_small_and_large_shelves(dense: ChromaIndex, count: int) -> None:
    passages = [
        passage(n, source="ses_a" if n < 20 else "ses_b", speaker="Ada" if n % 2 else "Pippa")
        for n in range(count)
    ]
    dense.add("shf_1", passages, vectors(count))
    where = Filter(
        source="ses_a",
        speaker="ADA",
        role="user",
        since=START + timedelta(hours=5),
        until=START + timedelta(hours=11),
    )
    found = dense.search("shf_1", vectors(1, seed=3)[0].tolist(), 100, where)
    assert {hit.key for hit in found} == {PassageKey("ses_a", number) for number in (5, 7, 9)}


def test_filters_hold_in_lexical_searches(lexical: TantivyIndex) -> None:
    passages = [
        passage(n, source="ses_a" if n < 20 else "ses_b", speaker="Ada" if n % 2 else "Pippa")
        for n in range(40)
    ]
    lexical.update("shf_1", passages, ["a walk by the sea"] * 40)
    where = Filter(
        source="ses_a",
        speaker="ADA",
        role="user",
        since=START + timedelta(hours=5),
        until=START + timedelta(hours=11),
    )
    found = lexical.search("shf_1", "the sea", 100, where)
    assert [hit.key for hit in found] == [PassageKey("ses_a", number) for number in (5, 7, 9)]
    assert found[0].score == lexical.search("shf_1", "the sea", 1)[0].score


def test_adding_twice_is_adding_once_and_the_last_text_and_vector_count(
    dense: ChromaIndex, lexical: TantivyIndex
) -> None:
    for made, text in ((vectors(1, seed=1), "an old text"), (vectors(1, seed=2), "a new story")):
        dense.add("shf_1", [passage(0)], made)
        lexical.update("shf_1", [passage(0)], [text])
    assert dense.count("shf_1") == lexical.count("shf_1") == 1
    assert dense.search("shf_1", vectors(1, seed=2)[0].tolist(), 5)[0].score == pytest.approx(1, abs=1e-5)
    assert not lexical.search("shf_1", "old", 5)
    assert lexical.search("shf_1", "story", 5)


def test_shelves_are_apart(dense: ChromaIndex, lexical: TantivyIndex) -> None:
    for shelf, number in (("shf_1", 1), ("shf_2", 2)):
        dense.add(shelf, [passage(number)], vectors(1))
        lexical.update(shelf, [passage(number)], ["the same words"])
    assert [hit.key.number for hit in dense.search("shf_2", vectors(1)[0].tolist(), 9)] == [2]
    assert [hit.key.number for hit in lexical.search("shf_2", "words", 9)] == [2]
    assert not dense.search("shf_3", vectors(1)[0].tolist(), 9)
    assert not lexical.search("shf_3", "words", 9)
    assert dense.shelves() == lexical.shelves() == {"shf_1", "shf_2"}


def test_what_is_removed_is_found_no_more(dense: ChromaIndex, lexical: TantivyIndex) -> None:
    passages = [passage(n) for n in range(4)]
    dense.add("shf_1", passages, vectors(4))
    lexical.update("shf_1", passages, ["by the sea"] * 4)
    gone = [passages[1].key, PassageKey("ses_a", 77)]
    dense.remove("shf_1", gone)
    lexical.update("shf_1", removed=gone)
    left = {PassageKey("ses_a", number) for number in (0, 2, 3)}
    assert {hit.key for hit in dense.search("shf_1", vectors(1)[0].tolist(), 9)} == left
    assert {hit.key for hit in lexical.search("shf_1", "sea", 9)} == left
    assert dense.keys("shf_1") == lexical.keys("shf_1") == left


def test_a_rewritten_lexical_shelf_holds_no_trace_of_what_was_removed(
    lexical: TantivyIndex, tmp_path: Path
) -> None:
    passages = [passage(n) for n in range(3)]
    lexical.update("shf_1", passages, ["zanzibar", "quagga", "harbour"], watermark=3)
    assert files_with(tmp_path, "quagga")
    lexical.update("shf_1", removed=[passages[1].key], watermark=4, rewrite=True)
    assert not files_with(tmp_path, "quagga")
    assert lexical.watermark("shf_1") == 4
    assert [hit.key for hit in lexical.search("shf_1", "zanzibar", 5)] == [passages[0].key]
    assert lexical.keys("shf_1") == {passages[0].key, passages[2].key}


def test_watermarks_are_kept_with_the_indexes(tmp_path: Path) -> None:
    for expected in (0, 12):
        dense = ChromaIndex(embedded_chroma(tmp_path / "chroma"), "model-a")
        lexical = TantivyIndex(tmp_path / "lexical")
        assert dense.watermark("shf_1") == lexical.watermark("shf_1") == expected
        dense.add("shf_1", [passage(0)], vectors(1))
        dense.set_watermark("shf_1", 12)
        lexical.update("shf_1", [passage(0)], ["words"], watermark=12)
        dense.close()
        lexical.close()


def test_vectors_of_another_model_count_as_none(tmp_path: Path) -> None:
    first = ChromaIndex(embedded_chroma(tmp_path / "chroma"), "model-a")
    first.add("shf_1", [passage(0)], vectors(1))
    first.set_watermark("shf_1", 5)
    first.close()
    second = ChromaIndex(embedded_chroma(tmp_path / "chroma"), "model-b")
    assert second.watermark("shf_1") == second.count("shf_1") == 0
    assert not second.search("shf_1", [1.0] * 8, 5)
    second.add("shf_1", [passage(1)], np.eye(1, 8, dtype=np.float32))
    assert second.keys("shf_1") == {PassageKey("ses_a", 1)}
    second.close()


def test_a_damaged_lexical_shelf_is_empty_and_can_be_filled_again(
    lexical: TantivyIndex, tmp_path: Path
) -> None:
    for damaged in (".store", ".idx", "meta.json"):
        lexical.update("shf_1", [passage(0)], ["by the sea"], watermark=3)
        lexical.close()
        for path in (tmp_path / "lexical" / "shf_1").iterdir():
            if path.name.endswith(damaged):
                path.write_bytes(b"{ nothing that an index could be read from")
        assert not lexical.search("shf_1", "sea", 5)
        assert lexical.watermark("shf_1") == 0
    lexical.update("shf_1", [passage(0)], ["by the sea"], watermark=3)
    assert lexical.search("shf_1", "sea", 5)


def test_a_question_of_many_words_is_answered_by_its_rarest(lexical: TantivyIndex) -> None:
    lexical.update("shf_1", [passage(n) for n in range(90)], [f"common word{n}" for n in range(90)])
    asked = " ".join(f"word{n}" for n in range(70)) + " common unheard"
    assert lexical.search("shf_1", asked, 5)
    assert not lexical.search("shf_1", "unheard ... ?", 5)


def test_vectors_can_be_kept_by_a_chroma_server(chroma_url: str) -> None:
    index = ChromaIndex(chroma_server(chroma_url), "model-a")
    index.add("shf_1", [passage(0), passage(1)], vectors(2))
    index.set_watermark("shf_1", 7)
    assert index.watermark("shf_1") == 7
    assert index.search("shf_1", vectors(2)[1].tolist(), 1)[0].key == passage(1).key
    index.remove("shf_1", [passage(1).key])
    index.rewrite("shf_1")
    assert (index.keys("shf_1"), index.watermark("shf_1")) == ({passage(0).key}, 7)


def test_what_a_cut_off_rewriting_left_on_a_server_goes_with_its_shelf_and_not_before(
    chroma_url: str,
) -> None:
    index = ChromaIndex(chroma_server(chroma_url), "model-a")
    index.add("shf_2.rewritten", [passage(0)], vectors(1))
    index.scrub()  # another process may be at it
    assert index.count("shf_2.rewritten") == 1
    assert "shf_2" in index.shelves()
    index.drop("shf_2")
    assert index.count("shf_2.rewritten") == 0
    assert "shf_2" not in index.shelves()


def test_a_rewritten_dense_shelf_is_as_it_was(dense: ChromaIndex) -> None:
    dense.add("shf_1", [passage(n) for n in range(3)], vectors(3), ["a", "b", "c"])
    dense.remove("shf_1", [passage(1).key])
    dense.set_watermark("shf_1", 4)
    before = dense.search("shf_1", vectors(1)[0].tolist(), 5)
    dense.rewrite("shf_1")
    assert dense.shelves() == {"shf_1"}
    assert dense.watermark("shf_1") == 4
    assert dense.search("shf_1", vectors(1)[0].tolist(), 5) == before
    assert dense.marks("shf_1", [passage(n).key for n in range(3)]) == {
        passage(0).key: "a",
        passage(2).key: "c",
    }


def test_rewriting_the_files_while_passages_come_in_loses_and_breaks_nothing(tmp_path: Path) -> None:
    index = ChromaIndex(embedded_chroma(tmp_path / "chroma"), "model-a", tmp_path / "chroma")
    filled = threading.Event()

    def fill() -> None:
        try:
            for n in range(80):
                index.add("shf_1", [passage(n)], vectors(1))
        finally:
            filled.set()

    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fill)
        while not filled.is_set():
            index.scrub()
        filling.result()
    index.scrub()
    index.close()
    reopened = ChromaIndex(embedded_chroma(tmp_path / "chroma"), "model-a", tmp_path / "chroma")
    assert reopened.keys("shf_1") == {passage(n).key for n in range(80)}
    reopened.close()
    with closing(sqlite3.connect(tmp_path / "chroma" / "chroma.sqlite3")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_chroma_server_that_is_not_there_is_said_to_be_unavailable() -> None:
    index = ChromaIndex(chroma_server("http://127.0.0.1:9"), "model-a")
    with pytest.raises(IndexUnavailableError, match="Chroma"):
        index.search("shf_1", [1.0], 5)
