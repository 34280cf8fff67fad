"""How people tell of themselves in English."""

import re
from functools import partial

from memory.facts.checks import is_denied_or_reported
from memory.facts.english_words import CLOSE, DATE, DIET, ILLNESS, JOB, KIN, LANGUAGES, MONTH, PETS, WHEN
from memory.facts.fact import TO_REMEMBER
from memory.facts.rule import REFUSES_NOTHING, rules

_CLAUSE = re.compile(
    r"(?:^|[,;:(—–…!?-]|\b(?:and|but|so|because|since|cause|though|well|actually|also|plus|anyway|oh|hi"
    r"|hello|hey|yes|no|yeah|yep|okay|ok|that|now|by the way|btw|fyi|honestly|luckily|sadly|unfortunately"
    r"|today|yesterday|recently|these days|nowadays|last \w+|in \d{4}))\s*$",
    re.IGNORECASE,
)
_LAST_CLAUSE = re.compile(r"[^,;:—–]*$")
_NEXT_CLAUSE = (
    r"and (?:i|i'm|my|we|it|that|he|she|they|now|then|am|have|work|live|love)\b"
    r"|(?:but|because|cause|since|though|although|which|who|so|while|when|where|these days|right now|now"
    r"|at the moment|nowadays|too|as well|any ?more|lately|btw|lol|haha|by the way|you know|remember"
    r"|obviously)\b"
)


def _before(words: str) -> str:
    """A value ends where these words or punctuation follow."""
    return rf"(?=\s*(?:[,;:!?.…()\"“”—–\n]|$|\s(?:{words})))"


_STOP = _before(_NEXT_CLAUSE)
_ELSEWHERE = r"with|for|after|until|till|last|this|at|just|again|as"
_PLACE_STOP = _before(rf"{_NEXT_CLAUSE}|(?:in (?:\d+|{MONTH})|{_ELSEWHERE})\b")
_JOB_STOP = _before(rf"{_NEXT_CLAUSE}|(?:in|near|on|{_ELSEWHERE})\b")
_V = r"(?P<v>[^,;:!?.…()\"“”—–\n]{1,100}?)" + _STOP
_LONG = r"(?P<v>[^;!?\n\"“”]{1,200}?)(?=\s*(?:[.;!?\n]|$))"
_PLACE = r"(?P<v>(?:the )?[^\W\d_][^,;:!?.…()\"“”—–\n]{0,60}?)" + _PLACE_STOP
_NAME = r"(?P<v>(?-i:[A-ZÀ-Þ][\w'’-]*(?: [A-ZÀ-Þ][\w'’-]*){0,2}|[^\x00-\x7f]+))"
_I_AM = r"\b(?:i['’]?m|i am)"
_I_DID = r"\bi(?:['’]ve)?(?: have)?"
_WE_DID = r"\b(?:i|we)(?:['’]ve)?(?: have)?"
_I_HAVE = r"\b(?:i have|i['’]?ve got|i['’]?ve|i got|i own|we have|we['’]?ve got)"
_ADVERB = (
    r"(?: (?:really|just|now|currently|still|also|always|actually|absolutely|totally|mostly|mainly|even|do"
    r"|only|so|recently|finally|already))*"
)

_NO_VALUE = re.compile(
    r"(?:that|this|it|you|your|him|her|them|those|these|to|how|when|what|where|why|here|there|everything"
    r"|something|nothing|anything|someone|people|being able|talking (?:to|with) you"
    r"|the (?:idea|way|fact|sound|thought)|one|some|such|all|both|another|so)\b|[\W_]*$",
    re.IGNORECASE,
)
_NO_NAME = re.compile(r"(?:not|so|very|a|an|the|is|was|in|on|also|still|just|really|too)\b", re.IGNORECASE)


def _may_follow(before: str) -> bool:
    """At the beginning of a clause that nothing before it denies or puts into another's mouth."""
    if not _CLAUSE.search(before):
        return False
    clause = _LAST_CLAUSE.search(before.rstrip(" ,;:—–"))
    return not is_denied_or_reported(clause[0] if clause else before)


_tells = partial(rules, may_follow=_may_follow, refused=_NO_VALUE, flags=re.IGNORECASE)

_NEW_HOME = (
    rf"\b(?:i|we)(?: have|['’]ve)?{_ADVERB} (?:moved|relocated)(?: house)?"
    rf"(?: (?:away |over |out )?from [^,.;!?]{{1,40}}?)? to {_PLACE}"
)
_NEW_JOB = (
    rf"{_I_DID}{_ADVERB} (?:got|took|started)(?: a)?(?: new)?(?: job| work|ing| working)? "
    rf"as (?P<v>an? [\w -]{{2,50}}?){_PLACE_STOP}"
)
_QUIT = rf"{_I_DID}(?: just| finally)? (?:quit|lost|left) my job\b"
_SCHOOL = (
    rf"\bi{_ADVERB} (?:go to|attend|study at) (?P<v>[^,;:!?.\n]{{0,40}}?"
    r"(?:university|college|school|academy|institute)(?: of [A-Z]\w+(?: [A-Z]\w+)?)?)"
)
_STUDIES = (
    rf"\b(?:i{_ADVERB} study|(?:i['’]?m|i am){_ADVERB} studying|i{_ADVERB} major in"
    rf"|(?:i['’]?m|i am){_ADVERB} majoring in) (?!for |hard|at ){_PLACE}"
)
_NAMED = (
    rf"\bmy (?P<k>{KIN}|{PETS})(?:['’]s name)?(?: is(?: called| named)?|['’]s(?: called| named)?|,)? "
    rf"{_NAME}(?=\W|$)"
)
_OF_THE_NAME = (
    rf"{_I_HAVE} (?:an? )?(?:[a-z]+ )?(?P<k>{KIN}|{PETS})"
    rf"(?: (?:called|named)|,? (?:his|her|its) name is|,) {_NAME}"
)
_HAS_PETS = (
    rf"{_I_HAVE} (?P<v>(?:an?|two|three|four|five|six|\d+) (?:[a-z]+ ){{0,2}}?(?:{PETS})s?)\b"
    r"(?! (?:phobia|allergy|person|sitter|food|flap|called|named))"
)
_NEW_PETS = (
    rf"{_WE_DID}{_ADVERB} (?:adopted|rescued|got) "
    rf"(?P<v>(?:an?|two|three) (?:[a-z]+ ){{0,2}}?(?:{PETS})s?)\b(?! (?:called|named))"
)
_FAMILY = (
    rf"{_I_HAVE} (?P<v>(?:an?|one|two|three|four|five|six|no|\d+) (?:[a-z]+ )?"
    r"(?:sisters?|brothers?|siblings?|sons?|daughters?|kids|children|grandchildren"
    r"|cousins?|nieces?|nephews?))\b"
)
_OF_ONE_CLOSE = rf"\bmy (?P<who>{CLOSE})(?:,? (?-i:[A-Z]\w+),?)?"
_FAVOURITE = rf"\bmy (?:all-time )?favou?rite (?P<k>[a-z]+(?: [a-z]+)?) (?:is|are|has always been) {_V}"
_KEEN = (
    rf"{_I_AM}{_ADVERB} (?:an? )?(?:big |huge |great )?"
    rf"(?:fan of|fond of|crazy about|into|keen on|obsessed with) {_V}"
)
_PLAYS = (
    rf"\bi{_ADVERB} play (?P<v>(?:the )?(?!along|a role|with|this|that|it)[^,;:!?.\n]{{2,40}}?)"
    rf"{_PLACE_STOP}"
)
_HATES = rf"\bi{_ADVERB} (?:hate|dislike|detest|despise|loathe|can['’]?t stand|cannot stand) {_V}"
_LIKES_NO_LONGER = (
    rf"\bi(?: have|['’]ve)? (?:no longer (?:like|love|enjoy|play)"
    rf"|(?:stopped|quit) (?:liking|loving|enjoying|playing)|(?:gone|went) off) {_V}"
)
_DOES_NOT_EAT = (
    rf"\bi{_ADVERB} (?:don['’]?t|do not|can['’]?t|cannot|never){_ADVERB} (?:eat|drink) "
    rf"(?!much|a lot|enough|well|any ?more|that|it|breakfast|lunch|dinner){_V}"
)
_SPEAKS = (
    rf"\bi{_ADVERB} speak(?: fluent| some| a little| good)? "
    rf"(?P<v>{LANGUAGES}(?:(?:, | and |, and ){LANGUAGES})*)"
)
_RELATED = (
    rf"{_I_AM}{_ADVERB} (?P<v>(?:happily |newly )?(?:married|engaged|divorced|widowed|single)"
    r"(?: to (?-i:[A-Z]\w+))?)(?=\W|$)"
)
_BROKE_UP = (
    r"\b(?:my (?:boyfriend|girlfriend|partner|husband|wife) and i|we)(?: have|['’]ve)?(?: just)? "
    r"broke(?:n)? up\b"
)
_PLANS = (
    rf"(?:{_I_AM}|\bi['’]?ll|\bi will|\bwe['’]?re|{_I_HAVE}) "
    rf"(?P<v>(?!(?:been|had|never|no|not|nothing|just|always|so|to)\b)[^,;:!?.\n]{{3,80}}? {WHEN})\b"
)

RULES = (
    *_tells(
        "name", rf"\bmy (?:real |full |first )?name(?:['’]s| is) (?:actually )?{_NAME}", refused=_NO_NAME
    ),
    *_tells("name", r"\bmy name(?:['’]s| is) (?P<v>[a-z][\w'-]+)(?=[.,!]|$| and)", refused=_NO_NAME),
    *_tells(
        "name",
        rf"\b(?:please )?(?:(?:everyone|everybody|you can|my friends|people) )?calls? me {_NAME}",
        rf"{_I_AM} called {_NAME}",
        rf"\bi go by {_NAME}",
        rf"(?:^|(?<=[\s,!.]))(?:hi|hello|hey)(?: there)?[,!.]* (?:i['’]?m|i am|this is) {_NAME}(?=\W|$)",
    ),
    *_tells(
        "age",
        rf"{_I_AM} (?P<v>\d{{1,3}})(?: years? old| years of age|(?=\s*(?:[.,!]|$| and)))",
        rf"{_I_DID}(?: just)? turned (?P<v>\d{{1,3}})\b(?! (?:pages|degrees))",
    ),
    *_tells(
        "birthday",
        rf"\bmy birthday(?:['’]s| is)(?: on)? (?P<v>{DATE})",
        rf"\bi was born (?:on|in) (?P<v>{DATE}|\d{{4}})",
    ),
    *_tells(
        "origin",
        rf"\bi was born (?:and raised )?in {_PLACE}",
        rf"{_I_AM} (?:originally )?from {_PLACE}",
        rf"\bi(?: originally)? (?:come|hail) from {_PLACE}",
        rf"\bi grew up (?:in|on|near) {_PLACE}",
    ),
    *_tells(
        "home",
        rf"\bi{_ADVERB} (?:live|reside) (?:in|on|near) {_PLACE}",
        rf"{_I_AM}{_ADVERB} (?:living|based|staying) (?:in|near) {_PLACE}",
        _NEW_HOME,
    ),
    *_tells(
        "job",
        rf"\bi{_ADVERB} work(?:ed)? as (?P<v>an? [^,;:!?.\n]{{2,50}}?){_JOB_STOP}",
        rf"{_I_AM}{_ADVERB} (?P<v>an? {JOB})(?=\W|$)",
        rf"{_I_AM} (?P<v>an? [\w -]{{2,40}}?) by (?:profession|trade)",
    ),
    *_tells("job", rf"\bmy (?:new )?job is {_V}", refused=_NO_NAME),
    *_tells("job", _NEW_JOB),
    *_tells(
        "employer",
        rf"\bi{_ADVERB} work (?:at|for) {_PLACE}",
        rf"{_I_AM}{_ADVERB} (?:working|employed) (?:at|for|by) {_PLACE}",
    ),
    *_tells("job", _QUIT, r"\bi(?: just)? (?:got|was) (?:laid off|fired)\b", ends=True),
    *_tells("employer", _QUIT, rf"\bi (?:no longer|don['’]?t) work (?:at|for) {_PLACE}", ends=True),
    *_tells("school", _SCHOOL),
    *_tells("studies", _STUDIES),
    *_tells("{k}", _NAMED, _OF_THE_NAME, refused=_NO_NAME),
    *_tells("pets", _HAS_PETS, _NEW_PETS),
    *_tells("{k}", rf"\bmy (?P<k>{KIN}|{PETS}),? {_NAME},? (?:has )?(?:died|passed away)\b", ends=True),
    *_tells("family", _FAMILY),
    *_tells("home", rf"{_OF_ONE_CLOSE} (?:lives in|moved to|has moved to) {_PLACE}"),
    *_tells("job", rf"{_OF_ONE_CLOSE} (?:works as|is) (?P<v>an? {JOB})(?=\W|$)"),
    *_tells("favourite {k}", _FAVOURITE, refused=_NO_NAME),
    *_tells("likes", rf"\bi{_ADVERB} (?:love|like|enjoy|adore) {_V}", _KEEN, _PLAYS),
    *_tells(
        "dislikes",
        _HATES,
        rf"\bi{_ADVERB} (?:don['’]?t|do not){_ADVERB} (?:like|enjoy) (?![^,.;!?]*any ?more){_V}",
    ),
    *_tells(
        "likes",
        rf"\bi (?:don['’]?t|do not){_ADVERB} (?:like|love|enjoy|play) {_V}(?= any ?more)",
        _LIKES_NO_LONGER,
        ends=True,
    ),
    *_tells(
        "allergies",
        rf"{_I_AM}{_ADVERB}(?: (?:severely|deathly|very|highly|mildly))? allergic to {_V}",
        rf"{_I_HAVE} an? (?:severe |bad |serious |mild )?(?P<v>[a-z]+(?: [a-z]+)?) allergy\b",
    ),
    *_tells(
        "diet",
        rf"{_I_AM}{_ADVERB}(?: an?)? (?P<v>{DIET})\b",
        rf"{_I_DID}{_ADVERB} (?:became|become|turned|went|gone) (?:an? )?(?P<v>{DIET})\b",
    ),
    *_tells("diet", rf"{_I_AM} (?:no longer|not)(?: an?)? (?P<v>{DIET})(?: any ?more)?\b", ends=True),
    *_tells("does not eat", _DOES_NOT_EAT),
    *_tells(
        "health",
        rf"\bi(?:['’]ve been| was| have been| got| got myself){_ADVERB} diagnosed with {_V}",
        rf"\bi{_ADVERB} (?:have|suffer from|['’]ve got) (?P<v>{ILLNESS})\b",
    ),
    *_tells(
        "languages",
        _SPEAKS,
        rf"\b(?:{_I_AM[2:]}|i['’]?ve been|i have been){_ADVERB} learning (?P<v>{LANGUAGES})",
    ),
    *_tells("relationship", _RELATED, rf"{_WE_DID}{_ADVERB} got (?P<v>married|engaged|divorced)\b"),
    *_tells("relationship", _BROKE_UP, ends=True),
    *_tells("plans", _PLANS),
    *_tells(
        "owns",
        rf"\bi{_ADVERB} (?:own|drive|ride) (?P<v>(?:an?|two|three|my own) [^,;:!?.\n]{{2,60}}?){_PLACE_STOP}",
        rf"{_I_DID}{_ADVERB} bought (?:myself )?(?P<v>an? [^,;:!?.\n]{{2,60}}?){_PLACE_STOP}",
    ),
)

_MAY_ASK = re.compile(
    r"(?:^|[,;:!.—-]|\b(?:please|and|so|but|also|just|always|you should|can you))\s*$", re.IGNORECASE
)
_ASKED = (
    r"\b(?:remember|(?:don['’]?t|do not|never) forget|keep in mind|bear in mind|make a note|note down|note)"
)

TO_REMEMBER_RULES = rules(
    TO_REMEMBER,
    rf"{_ASKED}(?:(?: this| please)?:| that) +{_LONG}",
    may_follow=lambda before: bool(_MAY_ASK.search(before)),
    refused=REFUSES_NOTHING,
    flags=re.IGNORECASE,
)
