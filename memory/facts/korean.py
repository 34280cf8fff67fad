"""How people tell of themselves in Korean."""

import re
from functools import partial

from memory.facts.fact import TO_REMEMBER
from memory.facts.rule import REFUSES_NOTHING, rules

_I = r"(?:나는|난|저는|전|내가|제가|나|저|나도|저도|난요)"
_MY = r"(?:내|제|나의|저의|우리|우리 집|저희|저희 집)"
_IS = r"(?:이야|야|이에요|예요|에요|입니다|이라고|라고|이고|이며|인데|임|이지|이죠|다|이다)"
_END = rf"(?={_IS}|[\s.,!~…]|$)"
_NAME = r"(?P<v>[가-힣A-Za-z]{1,12}?)"
_THING = r"(?P<v>(?<!\S)(?:[가-힣A-Za-z0-9]+(?<![은는이가을를도에서고로제금말짜주]) )?[가-힣A-Za-z0-9]+?)"
_WHOLE_WORD = r"(?<![가-힣A-Za-z0-9])[가-힣A-Za-z0-9]+"
_WORD = r"(?P<v>(?<!\S)[가-힣A-Za-z0-9]+?)"
_PETS = r"강아지|고양이|개|토끼|햄스터|앵무새|거북이|물고기|고슴도치"
_KIN = (
    r"엄마|어머니|아빠|아버지|남편|아내|와이프|남자친구|여자친구|남친|여친|언니|오빠|누나|형|동생"
    r"|여동생|남동생|아들|딸|할머니|할아버지|친구|사촌"
)
_DATE = (
    r"(?:\d{1,2}월 ?\d{1,2}일|다음 ?(?:주|달)(?: ?[월화수목금토일]요일)?"
    r"|이번 ?주 ?[월화수목금토일]요일|내일|모레|[월화수목금토일]요일)"
)
_LIVES = r"(?:살아|살고 ?있|삽니다|산다|사는데|살아요|거주)"

_CLAUSE_END = re.compile(r"[,.;!?~]|(?:고|지만|는데|은데|인데|서|니까)\s")
_OTHER_SUBJECT = re.compile(
    r"(?<!\S)(?!(?:나는|난|저는|전|내가|제가|나도|저도|지금은|이제는|요즘은|올해는|사실은|참고로는)(?:\s"
    r"|$))\S+(?:은|는|이|가|께서|랑|도)\s"
)
_NOT = re.compile(r"(?<!\w)(?:안|못|아직)\s*$")
_NO_VALUE = re.compile(
    r"(?:회사|집|직장|그거|이거|저거|그것|이것|그게|이게|너|당신|그|이|저|뭐|무엇|어디|누구|여기|거기|많이|정말|진짜"
    r"|아주|너무|다|잘|더)$"
)


def _may_follow(before: str) -> bool:
    """Where neither another subject nor a denial stands before it in its clause."""
    clause = _CLAUSE_END.split(before)[-1]
    return not _OTHER_SUBJECT.search(clause + " " if clause else "") and not _NOT.search(before)


_tells = partial(rules, may_follow=_may_follow, refused=_NO_VALUE)

_QUIT = r"(?:회사|직장|일)(?:을|를)? 그만(?: ?뒀| ?두었)|퇴사했|은퇴했"
_STUDIES_OR_WORKS = r"(?:에|을|를) 다(?:녀|니고 ?있|닙니다|닌다)"
_KEEPS_A_PET = rf"{_NAME}(?:이라는|라는) (?P<k>{_PETS})(?:를|을)? (?:한 마리 )?(?:키워|키우|길러|기르)"
_PLANS = (
    rf"(?P<v>{_DATE}에? [^.,!?\n]{{2,40}}?"
    r"(?:갈 거|할 거|볼 거|예정|가기로 했|하기로 했|면접이 있|시험이 있|약속이 있|수술이 있|여행을? 가))"
)

RULES = (
    *_tells(
        "name",
        rf"(?:내|제) 이름은 {_NAME}{_END}",
        rf"{_I} {_NAME}(?:이라고|라고) (?:해|합니다|불러|하는)",
        rf"(?:저를|나를|날|절) {_NAME}(?:이라고|라고) 불러",
    ),
    *_tells(
        "age",
        rf"(?:{_I} )?(?:이제 |올해 |지금 |만 )*(?P<v>\d{{1,3}} ?(?:살|세))"
        rf"(?={_IS}|[\s.,!~]|$|이 ?됐|이 ?되었)",
    ),
    *_tells("birthday", r"(?:내|제) 생일은 (?P<v>\d{1,2}월 ?\d{1,2}일)"),
    *_tells("origin", rf"{_WORD}에서 태어났", rf"{_WORD} 출신{_END}", rf"고향은 {_NAME}{_END}"),
    *_tells(
        "home",
        rf"{_THING}에(?:서)? {_LIVES}",
        rf"{_WORD}(?:으로|로) 이사(?:했|왔|갔|를 ?왔|를 ?갔|를 ?했)",
    ),
    *_tells(
        "job",
        rf"{_MY} 직업은 {_NAME}{_END}",
        rf"{_WORD}(?:으로|로) 일(?:해|하고 ?있|합니다|한다|하는)",
    ),
    *_tells(
        "employer",
        rf"(?P<v>{_WHOLE_WORD})에서 일(?:해|하고 ?있|합니다|한다)",
        rf"(?P<v>{_WHOLE_WORD}(?<!학교)(?<!대학)){_STUDIES_OR_WORKS}",
    ),
    *_tells("school", rf"(?P<v>{_WHOLE_WORD}(?:학교|대학)){_STUDIES_OR_WORKS}"),
    *_tells("job", _QUIT, ends=True),
    *_tells("employer", _QUIT, ends=True),
    *_tells("studies", rf"{_WORD}(?:을|를) 전공(?:해|하고|합니다|했)"),
    *_tells("{k}", rf"{_MY} (?P<k>{_PETS}|{_KIN}) 이름은 {_NAME}{_END}", _KEEPS_A_PET),
    *_tells(
        "pets",
        rf"(?P<v>(?:{_PETS})(?:를|을)?(?: (?:한|두|세|네) 마리)?)(?:를|을)? "
        r"(?:키워|키우고|키웁니다|길러|기르고)",
    ),
    *_tells(
        "likes",
        rf"{_THING}(?:을|를) (?:정말 |진짜 |아주 |엄청 |너무 |제일 |가장 )*"
        r"좋아(?:해|합니다|한다|하거든|하고)",
    ),
    *_tells(
        "dislikes",
        rf"{_THING}(?:을|를) (?:정말 |진짜 |아주 |엄청 |너무 )*"
        r"(?:싫어(?:해|합니다|한다|하거든)|안 좋아(?:해|합니다)|좋아하지 않)",
    ),
    *_tells(
        "likes",
        rf"(?:이제|더 이상|더는) {_THING}(?:을|를|은|는)? (?:안 좋아해|좋아하지 않|싫어졌|질렸)",
        ends=True,
    ),
    *_tells("favourite {k}", rf"(?:제일|가장) 좋아하는 (?P<k>[가-힣]+?)(?:은|는) {_THING}{_END}"),
    *_tells("allergies", rf"{_WORD} ?알(?:레르기|러지)(?:가|이)? (?:있|심)"),
    *_tells("does not eat", rf"{_WORD}(?:을|를|은|는)? (?:전혀 |아예 )?(?:못 ?먹|안 ?먹)(?:어|습니다|는다)"),
    *_tells("diet", rf"(?P<v>채식주의자|비건|페스코|베지테리언){_END}"),
    *_tells(
        "health",
        r"(?P<v>당뇨|천식|고혈압|불면증|우울증|편두통|공황장애|빈혈|디스크|관절염)"
        r"(?:병)?(?:이|가)? (?:있|심)",
    ),
    *_tells(
        "languages",
        r"(?P<v>(?<![가-힣])[가-힣]+어)(?:를|을)? "
        r"(?:할 줄 알|할 수 있|배우고 ?있|배워|공부하고 ?있|잘해|유창)",
    ),
    *_tells("relationship", r"(?P<v>결혼|이혼|약혼)(?:을 )?했", rf"(?P<v>미혼|기혼|싱글|솔로){_END}"),
    *_tells("relationship", r"(?:남자친구|여자친구|남친|여친|애인)(?:랑|이랑|와|과|하고)? 헤어졌", ends=True),
    *_tells("plans", _PLANS),
    *_tells("owns", rf"{_THING}(?:을|를) (?:새로 )?(?:샀|구입했|장만했)"),
)

TO_REMEMBER_RULES = rules(
    TO_REMEMBER,
    r"(?P<v>[^.!?\n]{4,150}?)(?:[는은]? ?거|는 것|[은는] 걸|라는 걸|다는 걸|다는 거)?(?:을|를|,)? "
    r"(?:꼭 |잘 )?(?:기억해|잊지 ?마|명심해)(?: ?줘| ?주세요| ?둬|요)?",
    r"기억해(?: ?줘| ?둬)?[:：,] *(?P<v>[^.!?\n]{4,150})",
    may_follow=lambda _before: True,
    refused=REFUSES_NOTHING,
)
