"""What people say: facts told, updated and ended in English and Korean, half in words that no pattern of the
rules was written for, and what tells none."""

from collections.abc import Sequence
from dataclasses import dataclass


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
