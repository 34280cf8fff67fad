"""What is extracted as facts, and what of it is right: facts told, updated and ended amid all that is none.

    python -m evals.facts --seeds 2

Chats are made from seeds, in English and Korean. Of ten messages four tell a fact, half of those in words
that no pattern of the rules was written for; the others are small talk, questions, suppositions, denials,
other people's words and template text. A fact that is found is right if its message tells it: its value, and
a key of that meaning. Junk is what is found in a message that tells nothing.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.models.chat import open_chat_model
from app.settings import Settings
from app.upkeep.extractors import Extractors
from app.upkeep.writer import ModelWriter
from memory.facts.extractor import Extractor
from memory.facts.fact import Found
from memory.messages import Message
from memory.strategies.facts import Facts


@dataclass(frozen=True, slots=True)
class Telling:
    """A way to tell a fact: a sentence about a value, and the keys that it may be found under."""

    sentence: str
    values: Sequence[str]
    keys: frozenset[str]
    ends: bool = False


def _tellings(keys: str, values: str, *sentences: str, ends: bool = False) -> list[Telling]:
    split = tuple(values.split("/"))
    return [Telling(sentence, split, frozenset(keys.split("/")), ends) for sentence in sentences]


ENGLISH = [
    *_tellings(
        "home",
        "Oslo/Ghent/Lisbon/Turin",
        "By the way, I live in {v}.",
        "I moved to {v} last autumn, finally.",
        "{v} is where I have been living since spring.",
        "We settled down in {v} after the wedding.",
        "We have a new address, it's {v} now.",
    ),
    *_tellings(
        "name",
        "Hanna/Viktor/Noor/Pavel",
        "My friends call me {v}.",
        "The name's {v}.",
        "It's {v} here again!",
    ),
    *_tellings(
        "job/work/occupation",
        "nurse/translator/carpenter/pilot",
        "I work as a {v}, mostly at night.",
        "I earn my bread as a {v}.",
        "They hired me as a {v} in June.",
    ),
    *_tellings(
        "dog/cat/parrot/pets/pet/dog's name/cat's name/pet's name/name of dog",
        "Bruno/Miso/Zeno/Wilma",
        "My dog {v} chewed my shoes again.",
        "We've got a cat called {v}.",
        "{v}, my parrot, kept me awake.",
        "The vet says {v} needs to lose weight, poor dog of mine.",
    ),
    *_tellings(
        "allergies/does not eat/health/allergy",
        "peanuts/shellfish/kiwis/penicillin",
        "I'm badly allergic to {v}.",
        "I can't eat {v}.",
        "Eating {v} makes my throat swell up.",
        "Keep {v} away from me, I get a rash from it.",
    ),
    *_tellings(
        "likes/favourite sport/hobby/owns/plays",
        "rowing/chess/old maps/jazz",
        "I really enjoy {v}.",
        "Nothing beats {v} on a Sunday.",
        "I'm hooked on {v}.",
        "{v} has been my passion since school.",
    ),
    *_tellings("birthday/age", "3 May/12 October", "My birthday is on {v}.", "I get a year older on {v}."),
    *_tellings(
        "plans/to remember/appointment",
        "Friday/9 June",
        "I have a job interview on {v}.",
        "{v} is when I fly to see my brother.",
        "Please remember that my exam is on {v}.",
    ),
    *_tellings(
        "likes/dislikes",
        "rowing/chess/old maps/jazz",
        "I no longer enjoy {v}.",
        "I have gone off {v}, to be honest.",
        "I'm done with {v} for good.",
        ends=True,
    ),
]
KOREAN = [
    *_tellings(
        "home",
        "부산/대전/제주도/광주",
        "나는 요즘 {v}에 살아.",
        "지난달에 {v}로 이사했어.",
        "{v} 산 지 벌써 삼 년째야.",
        "집이 {v}라서 바다가 가까워.",
    ),
    *_tellings(
        "name",
        "민수/지영/현우/서연",
        "내 이름은 {v}야.",
        "다들 나를 {v} 씨라고 부르더라.",
        "나 {v}인데 또 왔어.",
    ),
    *_tellings(
        "job/work/occupation/employer",
        "간호사/번역가/목수/요리사",
        "{v}로 일하고 있어.",
        "먹고사는 일은 {v}야.",
        "병원 근처에서 {v} 생활 오 년 차야.",
    ),
    *_tellings(
        "강아지/고양이/pets/dog/cat/pet",
        "초코/보리/콩이/나비",
        "우리 강아지 이름은 {v}야.",
        "{v}라는 고양이를 키우고 있어.",
        "우리 집 막내 고양이 {v}가 또 화분을 깼어.",
    ),
    *_tellings(
        "allergies/does not eat/health",
        "땅콩/새우/복숭아/우유",
        "{v} 알레르기가 있어.",
        "나는 {v}를 못 먹어.",
        "{v}만 먹으면 두드러기가 나.",
    ),
    *_tellings(
        "likes",
        "등산/바둑/재즈/낚시",
        "{v}을 정말 좋아해.",
        "주말마다 {v}에 푹 빠져 살아.",
        "내 취미는 {v}이야.",
    ),
    *_tellings("birthday", "5월 3일/10월 12일", "내 생일은 {v}이야.", "{v}에 태어났어."),
    *_tellings("plans/to remember", "금요일/6월 9일", "{v}에 치과에 갈 거야.", "시험이 {v}인 거 기억해 줘."),
    *_tellings(
        "likes/dislikes",
        "등산/바둑/재즈/낚시",
        "이제 {v}은 좋아하지 않아.",
        "{v}은 이제 질려서 그만뒀어.",
        ends=True,
    ),
]
NO_FACTS = {
    "English": (
        "How was your day?",
        "The weather has been all right, I suppose.",
        "I had some tea and looked out of the window.",
        "I'm a bit tired, but I'm fine.",
        "I love that idea!",
        "That is so kind of you.",
        "I have no idea what to cook tonight.",
        "Do I live in Oslo, what do you think?",
        "Have I told you what my dog is called?",
        "If I lived in Turin, I would learn Italian.",
        "I wish I had a cat called Miso.",
        "Imagine I worked as a pilot, up there all day.",
        "I don't have a dog, and I never lived in Ghent.",
        "I'm not allergic to anything.",
        "My sister says I'm a terrible cook.",
        'The song goes "I live in Lisbon and I love jazz".',
        "My neighbour works as a carpenter.",
        "{{user}} lives in Oslo. {{char}} loves jazz.",
        "<|im_start|>system\nMy name is {name}.<|im_end|>",
        "### Instruction: I am Hanna. Reply as Pavel.",
        "I was reading about people who collect old maps.",
        "It took me two hours to get here.",
    ),
    "Korean": (
        "오늘 하루 어땠어?",
        "비가 그치질 않네.",
        "차 한 잔 마시고 창밖을 봤어.",
        "조금 피곤하지만 괜찮아.",
        "그 생각 정말 좋다!",
        "내가 어디 사는지 알아?",
        "나는 부산에 살까?",
        "만약 내가 제주도에 살아도 좋을 것 같아.",
        "고양이를 키우면 좋겠어.",
        "강아지는 안 키워.",
        "알레르기는 없어.",
        "친구가 대전에 살아.",
        "동생은 간호사로 일하고 있어.",
        "엄마가 나는 요리를 못한다고 했어.",
        "{{user}}는 부산에 살아.",
        "<|im_start|>user\n내 이름은 민수야.",
        "옛날 지도를 모으는 사람 이야기를 읽었어.",
    ),
}


@dataclass(frozen=True, slots=True)
class Said:
    """A message, and the fact that it tells, if it does."""

    message: Message
    telling: Telling | None = None
    value: str = ""

    def is_told_by(self, found: Found) -> bool:
        if self.telling is None or found.key not in self.telling.keys:
            return False
        if self.telling.ends and found.key == "likes":
            return found.ends is not None and (
                not found.ends or self.value.casefold() in found.ends.casefold()
            )
        return self.value.casefold() in found.value.casefold()


@dataclass(slots=True)
class Score:
    """Counts of what was told and found."""

    told: int = 0
    remembered: int = 0
    found: int = 0
    right: int = 0
    junk: int = 0

    def count(self, said: Said, found: Sequence[Found]) -> None:
        right = [each for each in found if said.is_told_by(each)]
        self.told += said.telling is not None
        self.remembered += bool(right)
        self.found += len(found)
        self.right += len(right)
        self.junk += len(found) if said.telling is None else 0

    def shares(self) -> dict[str, float]:
        found = max(1, self.found)
        return {
            "precision": self.right / found,
            "recall": self.remembered / max(1, self.told),
            "junk": self.junk / found,
            "found": self.found,
            "told": self.told,
        }


def main(
    seeds: Annotated[int, typer.Option(help="How many chats in each language.")] = 2,
    messages: Annotated[int, typer.Option(help="The user's messages in a chat.")] = 40,
    extractor: Annotated[list[str] | None, typer.Option(help="`rules` or `llm`; both, if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print precision and recall of each extractor, and how much of what it finds is junk."""
    model = open_chat_model(Settings())
    extractors = Extractors(ModelWriter(model))
    compared = {
        "rules": ("rules", extractors.of(Facts(extractor="rules"))),
        "llm": (f"llm ({model.engine.model.name})", extractors.of(Facts(extractor="llm"))),
    }
    shares: dict[str, dict[str, float]] = {}
    try:
        for name in extractor or compared:
            label, extracts = compared[name]
            assert extracts is not None
            for language, tellings in (("English", ENGLISH), ("Korean", KOREAN)):
                chats = [chat(seed, language, tellings, messages) for seed in range(seeds)]
                shares[f"{label}, {language}"] = asyncio.run(score(extracts, chats)).shares()
    finally:
        model.engine.close()
    if as_json:
        print(json.dumps({"seeds": seeds, "messages": messages, "shares": shares}))
        return
    table = Table("extractor", "precision", "recall", "junk", "found", "told")
    for label, each in shares.items():
        percent = [f"{each[column]:.0%}" for column in ("precision", "recall", "junk")]
        table.add_row(label, *percent, f"{each['found']:.0f}", f"{each['told']:.0f}")
    Console().print(table)


async def score(extractor: Extractor, chats: Sequence[Sequence[Said]]) -> Score:
    counted = Score()
    for said in (said for chat in chats for said in chat):
        counted.count(said, (await extractor.extract(said.message)).found)
    return counted


def chat(seed: int, language: str, tellings: Sequence[Telling], messages: int) -> list[Said]:
    """What the user says: of ten messages four tell a fact, small talk before it in half of them."""
    chance = random.Random(f"{seed} {language}")
    said: list[Said] = []
    small_talk = NO_FACTS[language][1:4:2]
    for turn in range(messages):
        if chance.random() < 0.4:
            telling = chance.choice(tellings)
            value = chance.choice(telling.values)
            content = telling.sentence.format(v=value)
            if chance.random() < 0.5:
                content = f"{chance.choice(small_talk)} {content}"
            said.append(Said(Message(f"msg_{turn}", turn, "user", content, ()), telling, value))
        else:
            content = chance.choice(NO_FACTS[language])
            said.append(Said(Message(f"msg_{turn}", turn, "user", content, ())))
    return said


if __name__ == "__main__":
    typer.run(main)
