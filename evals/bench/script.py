"""The chat that every benchmark talks: who says what is fixed, so that all take part in the same chat.

From dialogues of people (`evals.dialogues`), or without them from a text that is made here from a seed.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from evals.dialogues import read_dialogues
from llm.text.chat_format import ChatEncoding
from memory.messages import Message, Role

SEED = 20


@dataclass(frozen=True, slots=True)
class Script:
    """A persona, and what is said in turn by the user and by the model: as long as it is asked for.

    `source` says where the text is from.
    """

    source: str
    persona: str
    said: tuple[tuple[str, str], ...]

    def turns(self, tokenizer: ChatEncoding, count: int, turn_tokens: int) -> list[tuple[Message, Message]]:
        """The first `count` turns: exchanges of the script, whole, joined until a turn has `turn_tokens`."""
        exchanges = cycle(self.said)
        return [_turn(turn, exchanges, tokenizer, turn_tokens) for turn in range(count)]

    def tokens(self, tokenizer: ChatEncoding, count: int) -> tuple[int, ...]:
        """`count` tokens of it as plain chat."""
        return next(self.chats(tokenizer, count))

    def chats(self, tokenizer: ChatEncoding, count: int) -> Iterator[tuple[int, ...]]:
        """Chats without end, of `count` tokens each; where one ends, the exchanges of the next begin."""
        exchanges = cycle(self.said)
        while True:
            ids = list(tokenizer.encode_preamble(self.persona))
            while len(ids) < count:
                said, replied = next(exchanges)
                ids += tokenizer.encode_message("user", said) + tokenizer.encode_message("assistant", replied)
            yield tuple(ids[:count])

    def preamble(self, tokenizer: ChatEncoding, count: int) -> tuple[int, ...]:
        """A persona that takes at least `count` tokens: the script's own, and what its people say."""
        said = cycle(self.said)
        persona = self.persona
        while len(ids := tokenizer.encode_preamble(persona)) < count:
            persona = f"{persona} {next(said)[0]}"
        return ids


def read_script(data: Path | None) -> Script:
    """Raises ValueError if the file has not the format of `evals.dialogues`."""
    if data is None:
        return _made_script(random.Random(SEED))
    dialogues = read_dialogues(data)
    said = [exchange for dialogue in dialogues for exchange in dialogue.exchanges]
    if not said:
        raise ValueError(f"{data} has no dialogues")
    return Script(data.name, dialogues[0].persona, tuple(said))


def _turn(
    turn: int, exchanges: Iterator[tuple[str, str]], tokenizer: ChatEncoding, turn_tokens: int
) -> tuple[Message, Message]:
    said: list[str] = []
    replied: list[str] = []
    while True:
        message, reply = next(exchanges)
        said.append(message)
        replied.append(reply)
        user = _message(turn, "user", " ".join(said), tokenizer)
        assistant = _message(turn, "assistant", " ".join(replied), tokenizer)
        if len(user.token_ids) + len(assistant.token_ids) >= turn_tokens:
            return user, assistant


def _message(turn: int, role: Role, content: str, tokenizer: ChatEncoding) -> Message:
    return Message(f"{role}-{turn}", turn, role, content, tokenizer.encode_message(role, content))


WHO = ("my sister", "the baker", "our neighbour", "a friend of mine", "the captain", "my old teacher")
DID = ("found", "painted", "lost", "repaired", "talked about", "promised me", "dreamt of", "sold")
WHAT = ("a blue bicycle", "the garden gate", "some warm bread", "two letters", "a small boat", "the piano")
WHEN = ("last summer", "on Sunday", "before the storm", "in the morning", "years ago", "after dinner")
ASKED = ("What do you think of that?", "Has that ever happened to you?", "Would you have done it?")
ANSWERED = ("I like that.", "That sounds familiar!", "Oh, I am not so sure.", "How lovely.", "Really?")
MADE_EXCHANGES = 2000
NAME = "Companion"
PERSONA = "I live by the sea. I mend boats. I love old songs and warm bread. I have a dog and two sisters."


def _made_script(dice: random.Random) -> Script:
    said = tuple(
        (f"{_sentence(dice)} {dice.choice(ASKED)}", f"{dice.choice(ANSWERED)} {_sentence(dice)}")
        for _ in range(MADE_EXCHANGES)
    )
    return Script("made from a seed", PERSONA, said)


def _sentence(dice: random.Random) -> str:
    sentence = " ".join(dice.choice(words) for words in (WHO, DID, WHAT, WHEN))
    return f"{sentence[0].upper()}{sentence[1:]}."
