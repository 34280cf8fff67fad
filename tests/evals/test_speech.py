"""Korean speech levels are told apart by how sentences end, and what is in doubt is left undecided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.persona.speech import Speech, speech_of

POLITE = """안녕하세요
오늘은 비가 와요
만나서 반갑습니다
어디에 사십니까
저는 목수예요
그건 제 강아지가 아니에요
같이 갑시다
조심하십시오
그렇죠
네
아뇨
커피요
비가 오니까요
고마워요, 아빠
아버지께서 오셨어요
내일 시험이 있거든요
저도 그렇게 생각합니다""".splitlines()
PLAIN = """안녕
오늘은 비가 와
만나서 반가워
어디 살아
나는 목수야
그건 내 강아지가 아니야
같이 가자
조심해
그렇지
응
아니
비가 오네
비가 오니까
비가 오는데
내가 할게
갈까
뭐 해
내일 시험이 있거든
나도 그렇게 생각한다
벌써 다 먹었잖아
오늘 바빠
물 좀 줘
고마워, 아빠
그만 울어라
친구가 그랬다고
언제 왔니
밥은 먹었냐
예쁘구나
잘 모르겠어
같이 먹을래
그거 좋은데
내일 온대""".splitlines()
UNDECIDED = """\
물이 필요
우리 강아지
과자
집에서
서울까지
맛있게 먹음
커피 한 잔
할머니
바다
Hello there
어머니에게
1, 2, 3
🙂
그런데
🙂🙂""".splitlines()


@pytest.mark.parametrize(
    ("sentences", "level"),
    [(POLITE, Speech.POLITE), (PLAIN, Speech.PLAIN), (UNDECIDED, Speech.UNDECIDED)],
)
def test_each_sentence_has_its_level(sentences: list[str], level: Speech) -> None:
    assert {each: speech_of(each) for each in sentences} == dict.fromkeys(sentences, level)


def test_what_others_said_and_what_is_done_do_not_count() -> None:
    assert speech_of('선생님이 "조용히 하세요"라고 하셨어.') is Speech.PLAIN
    assert speech_of("어서 오세요. *손을 흔든다* (춥다)") is Speech.POLITE
    assert speech_of("“조용히 하세요”") is Speech.POLITE, "all of it is quoted: then that is what is said"


def test_a_text_of_both_levels_is_mixed_and_what_is_undecided_does_not_count() -> None:
    assert speech_of("밥 먹었어? 저는 먹었어요.") is Speech.MIXED
    assert speech_of("우리 강아지! 귀엽죠? 과자.") is Speech.POLITE, "what is undecided does not count"


SENTENCES = st.sampled_from([*((each, "polite") for each in POLITE), *((each, "plain") for each in PLAIN)])
ENDS = st.sampled_from([".", "!", "?!", "...", "~", "ㅋㅋ", " ^^ ", "\n", "。"])


@given(st.lists(st.tuples(SENTENCES, ENDS), min_size=1, max_size=6))
def test_a_text_has_the_levels_of_its_sentences_whatever_they_end_with(
    said: list[tuple[tuple[str, str], str]],
) -> None:
    kinds = {kind for (_, kind), _ in said}
    text = " ".join(sentence + end for (sentence, _), end in said)
    expected = (
        {"polite": Speech.POLITE, "plain": Speech.PLAIN}[kinds.pop()] if len(kinds) == 1 else Speech.MIXED
    )
    assert speech_of(text) is expected


# 해요체 is 해체 with 요 behind it: the grammar may not know a verb on one side only.
STEMS = "먹어 가 마셔 봐 좋아 추워 예뻐 해 돼 있었어 보여 배워 골라 써 아파 알지 오네 할게 가는데"


@given(st.sampled_from(STEMS.split()))
def test_yo_makes_what_is_plain_polite(stem: str) -> None:
    assert speech_of(f"지금 {stem}.") is Speech.PLAIN
    assert speech_of(f"지금 {stem}요.") is Speech.POLITE


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_any_text_has_a_level(text: str) -> None:
    assert speech_of(text) in Speech
    assert speech_of(f"{text}\n저는 목수예요.\n나는 목수야.") is Speech.MIXED
