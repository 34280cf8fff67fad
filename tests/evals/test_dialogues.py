"""Dialogues of people are read from either format, and what is wrong with a file is named with its line."""

from pathlib import Path

import pytest

from evals.dialogues import COLUMNS, DialoguesError, read_dialogues

CSV = """user 1 personas,user 2 personas,Best Generated Conversation
"I bake.","I sail.
I sing.","User 1: Hi!
[They sit down.]
User 2: Ahoy!
User 2: Sorry, habit.
User 1: Do you sail?
User 1: Tell me!
User 2: Every day."
"I knit.",I run.,"User 1: Bye!"
"""
CONVAI2 = """1 your persona: i sail .
2 your persona: i sing .
3 partner's persona: i bake .
4 __SILENCE__\tahoy !\t\thello|ahoy !
5 do you sail ?\tevery day .\t\tno|every day .
6 alone ?\twith my dog .
1 partner's persona: i knit .
2 hi !\thello !
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "dialogues"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_reply_of_the_csv_answers_the_message_right_before_it(tmp_path: Path) -> None:
    sailor, runner = read_dialogues(written(tmp_path, CSV))
    assert sailor.persona == "I sail.\nI sing."
    assert sailor.exchanges == (("Hi!", "Ahoy!"), ("Tell me!", "Every day."))
    assert (runner.persona, runner.exchanges) == ("I run.", ())


def test_the_text_of_convai2_is_read_without_candidates_and_replies_to_nothing(tmp_path: Path) -> None:
    sailor, nobody = read_dialogues(written(tmp_path, CONVAI2))
    assert sailor.persona == "i sail .\ni sing ."
    assert sailor.exchanges == (("do you sail ?", "every day ."), ("alone ?", "with my dog ."))
    assert (nobody.persona, nobody.exchanges) == ("", (("hi !", "hello !"),))


@pytest.mark.parametrize("text", [CSV, CONVAI2])
def test_line_ends_and_byte_order_marks_of_other_systems_change_nothing(tmp_path: Path, text: str) -> None:
    expected = read_dialogues(written(tmp_path, text))
    path = tmp_path / "windows"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read_dialogues(path) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "dialogues:1 lacks the columns"),
        ("user 1 personas,more\na,b\n", f"dialogues:1 lacks the columns {COLUMNS[1]}"),
        (CSV + '"I knit.",I run.\n', "dialogues:11 ends before the column Best Generated Conversation"),
        ("1 hello\n", "dialogues:1 has no tab"),
        (CONVAI2 + "3 hi !\t \n", "dialogues:9 has no tab with a reply"),
        (CONVAI2 + "5 hi !\thello\n", "dialogues:9 has the number 5; 3 is expected, or 1"),
        (CONVAI2 + "\nhello\n", "dialogues:9 does not begin with a number"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_its_line(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(DialoguesError, match=named):
        read_dialogues(written(tmp_path, text))


def test_a_file_that_is_no_text_or_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(b"\x89PNG\xff\xfe")
    for each in (path, tmp_path / "absent"):
        with pytest.raises(DialoguesError, match=f"{each.name} cannot be read"):
            read_dialogues(each)
