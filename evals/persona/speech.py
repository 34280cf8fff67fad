"""Korean speech levels by a small grammar of sentence endings: 반말, 존댓말, both, or none seen.

존댓말 is what ends in 요 (해요체) or ㅂ니다, ㅂ니까, 십시오, ㅂ시다 (합쇼체), 반말 what ends as 해체 or
해라체 do. A sentence is judged by its last word alone. Bare nouns, and endings that nouns have as well, are
undecided: a wrong verdict would be worse here than none.
"""

import re
from collections.abc import Iterable
from enum import StrEnum


class Speech(StrEnum):
    """How a text speaks to the one who reads it."""

    PLAIN = "반말"
    POLITE = "존댓말"
    MIXED = "mixed"
    UNDECIDED = "undecided"


_ASIDE = re.compile(r"\([^()\n]*\)|\*[^*\n]*\*")
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|‘[^’\n]*’|「[^」\n]*」|『[^』\n]*』")
_SENTENCE_ENDS = re.compile(r"[.!?…~。！？\n]+|[ㅋㅎㅠㅜ]{2,}|\^\^")
_CLAUSE_ENDS = re.compile(r"[,，、;:]")
_WORD = re.compile(r"[가-힣]+")

# Words that are a whole sentence by themselves, and say otherwise than the same syllables as an ending do.
_ALONE_POLITE = "네 넵 넹 예 아뇨"
_ALONE_PLAIN = "응 엉 야 아니 그래 안녕 미안 가 사 타 재 와 봐 해 돼 줘 둬 춰 쳐 켜 펴 써 커"
# Nouns, particles and adverbs that end as a sentence may.
_UNDECIDED = """
필요 중요 주요 수요 담요 개요 강요 민요 동요 소요
바다 판다 소다 캐나다 보다 마다
나라 콜라 카메라
여자 남자 의자 과자 모자 혼자 글자 각자 피자 사자 감자 환자 부자 학자 기자 저자 타자 숫자 한자 상자
영어 언어 국어 단어 문어 상어 연어 용어 인어
육아 아시아 치아 기여 참여 이해 동해 남해 서해 올해 피해 오해 방해 새해
분야 아버지 바지 돼지 강아지 망아지 송아지 편지 이미지 가지 휴지 반지 잡지 단지 먼지 까지
동네 어머니 할머니 언니 주머니
노래 미래 아래 고래 모래 빨래 거래 유래 본래
가운데 그런데 근데 군대 반대 연대
장군 해군 공군 육군 샤워 파워 타워 격려 고려 배려
달러 컬러 오빠 아빠 소파 양파 대파 기와
"""
# Endings of 해체 and 해라체, and verbs whose stem is their own end.
_PLAIN = """
다 구나 군 네 니 냐 자 래 라 렴 거든 니까 는가 은가 인가 더라고 다고 라고 냐고 자고
어 아 해 돼 야 여 지 러 워 줘 둬 춰 꿔 셔 려 쳐 겨 져 켜 펴 쪄 와 봐 놔 빠 파 뻐 퍼 써 꺼 떠
다녀 보내 지내 끝내 꺼내 나가 들어가 돌아가 올라가 내려가 만나 일어나 끝나 비싸
"""
# Those that stand behind a syllable with a certain final consonant only.
_PLAIN_BEHIND = (("데", "ㄴ"), ("대", "ㄴ"), ("걸", "ㄴ"), ("걸", "ㄹ"), ("게", "ㄹ"), ("까", "ㄹ"))
_POLITE = "요 죠 시오"
_POLITE_BEHIND = (("니다", "ㅂ"), ("니까", "ㅂ"), ("시다", "ㅂ"))

_FINALS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"


def speech_of(text: str) -> Speech:
    """The level of a text's sentences together; what it quotes or puts in brackets does not count."""
    own = _ASIDE.sub(" ", text)
    own = _QUOTED.sub(" ", own)
    if not _WORD.search(own):  # all of it is quoted
        own = text
    return _together(_of_sentence(sentence) for sentence in _SENTENCE_ENDS.split(own))


def _together(levels: Iterable[Speech]) -> Speech:
    decided = set(levels) - {Speech.UNDECIDED}
    if not decided:
        return Speech.UNDECIDED
    return decided.pop() if len(decided) == 1 else Speech.MIXED


def _of_sentence(sentence: str) -> Speech:
    # Who is spoken to may be named behind the end: 고마워요, 아빠.
    for clause in reversed(_CLAUSE_ENDS.split(sentence)):
        words = _WORD.findall(clause)
        level = _of_last_word(words[-1]) if words else Speech.UNDECIDED
        if level is not Speech.UNDECIDED:
            return level
    return Speech.UNDECIDED


def _of_last_word(word: str) -> Speech:
    if word in _ALONE_POLITE.split():
        return Speech.POLITE
    if word in _ALONE_PLAIN.split():
        return Speech.PLAIN
    if len(word) == 1 or word.endswith(tuple(_UNDECIDED.split())):
        return Speech.UNDECIDED
    if word.endswith(tuple(_POLITE.split())) or _ends_behind(word, _POLITE_BEHIND):
        return Speech.POLITE
    if word.endswith(tuple(_PLAIN.split())) or _ends_behind(word, _PLAIN_BEHIND):
        return Speech.PLAIN
    return Speech.UNDECIDED


def _ends_behind(word: str, endings: Iterable[tuple[str, str]]) -> bool:
    """Whether the word has one of the endings behind a syllable with that final consonant."""
    return any(
        word.endswith(ending) and len(word) > len(ending) and _final(word[-len(ending) - 1]) == final
        for ending, final in endings
    )


def _final(syllable: str) -> str:
    """The consonant that a syllable ends in, a space for none (Unicode 16.0, section 3.12)."""
    return _FINALS[(ord(syllable) - ord("가")) % len(_FINALS)]
