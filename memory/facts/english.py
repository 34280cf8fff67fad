"""How people tell of themselves in English."""

import re

from memory.facts.checks import is_denied_or_reported
from memory.facts.fact import TO_REMEMBER
from memory.facts.rule import Rule

_CLAUSE = re.compile(
    r"(?:^|[,;:(—–…!?-]|\b(?:and|but|so|because|since|cause|though|well|actually|also|plus|anyway|oh|hi"
    r"|hello|hey"
    r"|yes|no|yeah|yep|okay|ok|that|now|by the way|btw|fyi|honestly|luckily|sadly|unfortunately|today"
    r"|yesterday|recently|these days|nowadays|last \w+|in \d{4}))\s*$",
    re.IGNORECASE,
)
_LAST_CLAUSE = re.compile(r"[^,;:—–]*$")
_STOP = (
    r"(?=\s*(?:[,;:!?.…()\"“”—–\n]|$|\s(?:and (?:i|i'm|my|we|it|that|he|she|they|now|then|am|have|work"
    r"|live|love)\b"
    r"|(?:but|because|cause|since|though|although|which|who|so|while|when|where|these days|right now|now"
    r"|at the moment"
    r"|nowadays|too|as well|any ?more|lately|btw|lol|haha|by the way|you know|remember|obviously)\b)))"
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_PLACE_STOP = (
    _STOP[:-3] + r"|(?:in (?:\d+|{_MONTH})|with|for|after|until|till|last|this|at|just|again|as)\b)))"
)
_V = r"(?P<v>[^,;:!?.…()\"“”—–\n]{1,100}?)" + _STOP
_LONG = r"(?P<v>[^;!?\n\"“”]{1,200}?)(?=\s*(?:[.;!?\n]|$))"
_PLACE = r"(?P<v>(?:the )?[^\W\d_][^,;:!?.…()\"“”—–\n]{0,60}?)" + _PLACE_STOP
_NAME = r"(?P<v>(?-i:[A-ZÀ-Þ][\w'’-]*(?: [A-ZÀ-Þ][\w'’-]*){0,2}|[^\x00-\x7f]+))"
_I_AM = r"\b(?:i['’]?m|i am)"
_I_HAVE = r"\b(?:i have|i['’]?ve got|i['’]?ve|i got|i own|we have|we['’]?ve got)"
_ADVERB = (
    r"(?: (?:really|just|now|currently|still|also|always|actually|absolutely|totally|mostly|mainly"
    r"|even|do|only|so|recently|finally|already))*"
)
_PETS = (
    r"dog|cat|puppy|kitten|rabbit|bunny|hamster|parrot|budgie|tortoise|turtle|goldfish|fish|horse|pony"
    r"|guinea pig|snake|lizard|gecko|ferret|rat|mouse|bird|hen"
)
_ONE_OF_KIN = r"mother|mum|mom|father|dad|husband|wife|spouse|partner|boyfriend|girlfriend|fianc[eé]e?"
_CLOSE = (
    rf"{_ONE_OF_KIN}|(?:older |younger |big |little |elder |baby |twin |half )?(?:sister|brother)|son"
    r"|daughter|grand(?:mother|father|ma|pa|son|daughter)|aunt|uncle|cousin|niece|nephew|best friend"
    r"|stepmother|stepfather"
)
_KIN = rf"{_CLOSE}|friend|roommate|flatmate|boss|neighbou?r|teacher|colleague|therapist"
_DATE = (
    rf"(?:\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}(?:,? \d{{4}})?|{_MONTH} (?:the )?\d{{1,2}}(?:st|nd|rd"
    rf"|th)?(?:,? \d{{4}})?"
    rf"|\d{{4}}-\d\d-\d\d|\d{{1,2}}[./]\d{{1,2}}(?:[./]\d{{2,4}})?|the \d{{1,2}}(?:st|nd|rd"
    rf"|th)(?: of {_MONTH})?|{_MONTH} \d{{4}})"
)
_WHEN = (
    rf"(?:(?:on |in |this |next |coming )*(?:{_DATE}|(?:mon|tues|wednes|thurs|fri|satur"
    rf"|sun)day(?: (?:morning|afternoon|evening|night))?)"
    r"|tomorrow(?: (?:morning|afternoon|evening|night))?|tonight|next (?:week|month|year|spring|summer"
    r"|autumn|fall|winter)"
    r"|in (?:two|three|four|five|six|\d+) (?:days|weeks|months))"
)
_JOB = (
    r"[a-z -]{0,30}?(?:teacher|nurse|engineer|doctor|lawyer|developer|programmer|designer|student"
    r"|accountant|architect|artist"
    r"|baker|barista|carpenter|chef|cook|dentist|driver|electrician|farmer|firefighter|gardener|journalist"
    r"|librarian|manager"
    r"|mechanic|midwife|musician|painter|paramedic|pharmacist|photographer|physicist|pilot|plumber|poet"
    r"|police officer"
    r"|professor|psychologist|researcher|scientist|secretary|soldier|surgeon|surveyor|tailor|translator"
    r"|veterinarian|vet|waiter"
    r"|waitress|writer|analyst|consultant|therapist|beekeeper|bookseller|cashier|cellist|violinist|pianist"
    r"|welder|lifeguard)"
)
_LANGUAGES = (
    r"(?:english|korean|german|french|spanish|italian|dutch|portuguese|swedish|norwegian|danish|finnish"
    r"|polish|czech|russian"
    r"|ukrainian|greek|turkish|arabic|hebrew|persian|farsi|hindi|urdu|bengali|tamil|thai|vietnamese"
    r"|indonesian|malay|japanese"
    r"|chinese|mandarin|cantonese|latin|welsh|irish|catalan|hungarian|romanian|swahili|sign language)"
)
_ILLNESS = (
    r"(?:type [12] )?diabetes|asthma|epilepsy|migraines?|insomnia|anxiety|depression|adhd|autism|dyslexia"
    r"|arthritis|high blood pressure"
    r"|a heart condition|celiac disease|coeliac disease|hay fever|eczema|tinnitus|vertigo|anemia|anaemia"
    r"|ibs|endometriosis|a pacemaker"
)
_DIET = (
    r"vegan|vegetarian|pescatarian|pescetarian|lactose[- ]intolerant|gluten[- ]intolerant|c(?:o)?eliac"
    r"|teetotal|diabetic"
)

_NOTHING = re.compile(r"(?!)")
_NO_VALUE = re.compile(
    r"(?:that|this|it|you|your|him|her|them|those|these|to|how|when|what|where|why|here|there|everything"
    r"|something|nothing|anything"
    r"|someone|people|being able|talking (?:to|with) you|the (?:idea|way|fact|sound|thought)|one|some|such"
    r"|all|both|another|so)\b|[\W_]*$",
    re.IGNORECASE,
)
_NO_NAME = re.compile(r"(?:not|so|very|a|an|the|is|was|in|on|also|still|just|really|too)\b", re.IGNORECASE)


def _may_follow(before: str) -> bool:
    """At the beginning of a clause that nothing before it denies or puts into another's mouth."""
    if not _CLAUSE.search(before):
        return False
    clause = _LAST_CLAUSE.search(before.rstrip(" ,;:—–"))
    return not is_denied_or_reported(clause[0] if clause else before)


def _rule(key: str, pattern: str, *, ends: bool = False, refused: re.Pattern[str] = _NO_VALUE) -> Rule:
    return Rule(key, re.compile(pattern, re.IGNORECASE), _may_follow, refused, ends)


RULES = (
    _rule(
        "name",
        rf"\bmy (?:real |full |first )?name(?:['’]s"
        rf"| is) (?:actually )?{_NAME}",
        refused=_NO_NAME,
    ),
    _rule("name", r"\bmy name(?:['’]s| is) (?P<v>[a-z][\w'-]+)(?=[.,!]|$| and)", refused=_NO_NAME),
    _rule(
        "name",
        rf"\b(?:please )?(?:(?:everyone|everybody|you can|my friends"
        rf"|people) )?calls? me {_NAME}",
    ),
    _rule("name", rf"{_I_AM} called {_NAME}"),
    _rule("name", rf"\bi go by {_NAME}"),
    _rule(
        "name",
        rf"(?:^|(?<=[\s,!.]))(?:hi|hello|hey)(?: there)?[,!.]* (?:i['’]?m|i am|this is) {_NAME}(?=\W|$)",
    ),
    _rule("age", rf"{_I_AM} (?P<v>\d{{1,3}})(?: years? old| years of age|(?=\s*(?:[.,!]|$| and)))"),
    _rule("age", r"\bi(?:['’]ve)?(?: have)?(?: just)? turned (?P<v>\d{1,3})\b(?! (?:pages|degrees))"),
    _rule("birthday", rf"\bmy birthday(?:['’]s| is)(?: on)? (?P<v>{_DATE})"),
    _rule("birthday", rf"\bi was born (?:on|in) (?P<v>{_DATE}|\d{{4}})"),
    _rule("origin", rf"\bi was born (?:and raised )?in {_PLACE}"),
    _rule("origin", rf"{_I_AM} (?:originally )?from {_PLACE}"),
    _rule("origin", rf"\bi(?: originally)? (?:come|hail) from {_PLACE}"),
    _rule("origin", rf"\bi grew up (?:in|on|near) {_PLACE}"),
    _rule("home", rf"\bi{_ADVERB} (?:live|reside) (?:in|on|near) {_PLACE}"),
    _rule("home", rf"{_I_AM}{_ADVERB} (?:living|based|staying) (?:in|near) {_PLACE}"),
    _rule(
        "home",
        rf"\b(?:i|we)(?: have|['’]ve)?{_ADVERB} (?:moved|relocated)(?: house)?(?: (?:away |over "
        rf"|out )?from [^,.;!?]{{1,40}}?)? to {_PLACE}",
    ),
    _rule(
        "job",
        rf"\bi{_ADVERB} work(?:ed)? as (?P<v>an? [^,;:!?.\n]{{2,50}}?)"
        + _PLACE_STOP.replace("in \\d+", "in|near|on"),
    ),
    _rule("job", rf"{_I_AM}{_ADVERB} (?P<v>an? {_JOB})(?=\W|$)"),
    _rule("job", rf"{_I_AM} (?P<v>an? [\w -]{{2,40}}?) by (?:profession|trade)"),
    _rule("job", rf"\bmy (?:new )?job is {_V}", refused=_NO_NAME),
    _rule(
        "job",
        rf"\bi(?:['’]ve)?(?: have)?{_ADVERB} (?:got|took|started)(?: a)?(?: new)?(?: job| work"
        rf"|ing| working)? as (?P<v>an? [\w -]{{2,50}}?){_PLACE_STOP}",
    ),
    _rule("employer", rf"\bi{_ADVERB} work (?:at|for) {_PLACE}"),
    _rule("employer", rf"{_I_AM}{_ADVERB} (?:working|employed) (?:at|for|by) {_PLACE}"),
    _rule("job", r"\bi(?:['’]ve)?(?: have)?(?: just| finally)? (?:quit|lost|left) my job\b", ends=True),
    _rule("job", r"\bi(?: just)? (?:got|was) (?:laid off|fired)\b", ends=True),
    _rule(
        "employer",
        r"\bi(?:['’]ve)?(?: have)?(?: just| finally)? (?:quit|lost"
        r"|left) my job\b",
        ends=True,
    ),
    _rule("employer", rf"\bi (?:no longer|don['’]?t) work (?:at|for) {_PLACE}", ends=True),
    _rule(
        "school",
        rf"\bi{_ADVERB} (?:go to|attend|study at) (?P<v>[^,;:!?.\n]{{0,40}}?(?:university|college|school"
        rf"|academy|institute)(?: of [A-Z]\w+(?: [A-Z]\w+)?)?)",
    ),
    _rule(
        "studies",
        rf"\b(?:i{_ADVERB} study|(?:i['’]?m|i am){_ADVERB} studying|i{_ADVERB} major in|(?:i['’]?m"
        rf"|i am){_ADVERB} majoring in) (?!for |hard|at ){_PLACE}",
    ),
    _rule(
        "{k}",
        rf"\bmy (?P<k>{_KIN}|{_PETS})(?:['’]s name)?(?: is(?: called| named)?|['’]s(?: called| named)?"
        rf"|,)? {_NAME}(?=\W|$)",
        refused=_NO_NAME,
    ),
    _rule(
        "{k}",
        rf"{_I_HAVE} (?:an? )?(?:[a-z]+ )?(?P<k>{_KIN}|{_PETS})(?: (?:called|named)|,? (?:his|her"
        rf"|its) name is|,) {_NAME}",
        refused=_NO_NAME,
    ),
    _rule(
        "pets",
        rf"{_I_HAVE} (?P<v>(?:an?|two|three|four|five|six"
        rf"|\d+) (?:[a-z]+ ){{0,2}}?(?:{_PETS})s?)\b"
        r"(?! (?:phobia|allergy|person|sitter|food|flap|called|named))",
    ),
    _rule(
        "pets",
        rf"\b(?:i|we)(?:['’]ve)?(?: have)?{_ADVERB} (?:adopted|rescued|got) (?P<v>(?:an?|two"
        rf"|three) (?:[a-z]+ ){{0,2}}?(?:{_PETS})s?)\b(?! (?:called|named))",
    ),
    _rule("{k}", rf"\bmy (?P<k>{_KIN}|{_PETS}),? {_NAME},? (?:has )?(?:died|passed away)\b", ends=True),
    _rule(
        "family",
        rf"{_I_HAVE} (?P<v>(?:an?|one|two|three|four|five|six|no|\d+) (?:[a-z]+ )?(?:sisters?|brothers?"
        rf"|siblings?|sons?|daughters?|kids|children|grandchildren|cousins?|nieces?|nephews?))\b",
    ),
    _rule(
        "home", rf"\bmy (?P<who>{_CLOSE})(?:,? (?-i:[A-Z]\w+),?)? (?:lives in|moved to|has moved to) {_PLACE}"
    ),
    _rule(
        "job",
        rf"\bmy (?P<who>{_CLOSE})(?:,? (?-i:[A-Z]\w+),?)? (?:works as|is) (?P<v>an? {_JOB})(?=\W"
        rf"|$)",
    ),
    _rule(
        "favourite {k}",
        rf"\bmy (?:all-time )?favou?rite (?P<k>[a-z]+(?: [a-z]+)?) (?:is|are|has always been) {_V}",
        refused=_NO_NAME,
    ),
    _rule("likes", rf"\bi{_ADVERB} (?:love|like|enjoy|adore) {_V}"),
    _rule(
        "likes",
        rf"{_I_AM}{_ADVERB} (?:an? )?(?:big |huge |great )?(?:fan of|fond of|crazy about|into|keen on"
        rf"|obsessed with) {_V}",
    ),
    _rule(
        "likes",
        rf"\bi{_ADVERB} play (?P<v>(?:the )?(?!along|a role|with|this|that|it)[^,;:!?.\n]{{2,40}}?)"
        + _PLACE_STOP,
    ),
    _rule(
        "dislikes",
        rf"\bi{_ADVERB} (?:hate|dislike|detest|despise|loathe|can['’]?t stand"
        rf"|cannot stand) {_V}",
    ),
    _rule(
        "dislikes", rf"\bi{_ADVERB} (?:don['’]?t|do not){_ADVERB} (?:like|enjoy) (?![^,.;!?]*any ?more){_V}"
    ),
    _rule(
        "likes",
        rf"\bi (?:don['’]?t|do not){_ADVERB} (?:like|love|enjoy"
        rf"|play) {_V}(?= any ?more)",
        ends=True,
    ),
    _rule(
        "likes",
        rf"\bi(?: have|['’]ve)? (?:no longer (?:like|love|enjoy|play)|(?:stopped|quit) (?:liking|loving"
        rf"|enjoying|playing)|(?:gone|went) off) {_V}",
        ends=True,
    ),
    _rule("allergies", rf"{_I_AM}{_ADVERB}(?: (?:severely|deathly|very|highly|mildly))? allergic to {_V}"),
    _rule(
        "allergies",
        rf"{_I_HAVE} an? (?:severe |bad |serious "
        rf"|mild )?(?P<v>[a-z]+(?: [a-z]+)?) allergy\b",
    ),
    _rule("diet", rf"{_I_AM}{_ADVERB}(?: an?)? (?P<v>{_DIET})\b"),
    _rule(
        "diet",
        rf"\bi(?:['’]ve)?(?: have)?{_ADVERB} (?:became|become|turned|went|gone) (?:an? )?(?P<v>{_DIET})\b",
    ),
    _rule("diet", rf"{_I_AM} (?:no longer|not)(?: an?)? (?P<v>{_DIET})(?: any ?more)?\b", ends=True),
    _rule(
        "does not eat",
        rf"\bi{_ADVERB} (?:don['’]?t|do not|can['’]?t|cannot|never){_ADVERB} (?:eat|drink) (?!much|a lot"
        rf"|enough|well|any ?more|that|it|breakfast|lunch|dinner){_V}",
    ),
    _rule("health", rf"\bi(?:['’]ve been| was| have been| got| got myself){_ADVERB} diagnosed with {_V}"),
    _rule("health", rf"\bi{_ADVERB} (?:have|suffer from|['’]ve got) (?P<v>{_ILLNESS})\b"),
    _rule(
        "languages",
        rf"\bi{_ADVERB} speak(?: fluent| some| a little| good)? (?P<v>{_LANGUAGES}(?:(?:, | and "
        rf"|, and ){_LANGUAGES})*)",
    ),
    _rule(
        "languages",
        rf"\b(?:{_I_AM[2:]}|i['’]?ve been"
        rf"|i have been){_ADVERB} learning (?P<v>{_LANGUAGES})",
    ),
    _rule(
        "relationship",
        rf"{_I_AM}{_ADVERB} (?P<v>(?:happily |newly )?(?:married|engaged|divorced|widowed"
        rf"|single)(?: to (?-i:[A-Z]\w+))?)(?=\W|$)",
    ),
    _rule(
        "relationship",
        rf"\b(?:i|we)(?:['’]ve)?(?: have)?{_ADVERB} got (?P<v>married|engaged"
        rf"|divorced)\b",
    ),
    _rule(
        "relationship",
        r"\b(?:my (?:boyfriend|girlfriend|partner|husband|wife) and i|we)(?: have"
        r"|['’]ve)?(?: just)? broke(?:n)? up\b",
        ends=True,
    ),
    _rule(
        "plans",
        rf"(?:{_I_AM}|\bi['’]?ll|\bi will|\bwe['’]?re|{_I_HAVE}) "
        rf"(?P<v>(?!(?:been|had|never|no|not|nothing|just|always|so|to)\b)[^,;:!?.\n]{{3,80}}? {_WHEN})\b",
    ),
    _rule(
        "owns",
        rf"\bi{_ADVERB} (?:own|drive|ride) (?P<v>(?:an?|two|three|my own) [^,;:!?.\n]{{2,60}}?)"
        + _PLACE_STOP,
    ),
    _rule(
        "owns",
        rf"\bi(?:['’]ve)?(?: have)?{_ADVERB} bought (?:myself )?(?P<v>an? [^,;:!?.\n]{{2,60}}?)"
        + _PLACE_STOP,
    ),
)


def _may_ask(before: str) -> bool:
    return bool(
        re.search(
            r"(?:^|[,;:!.—-]|\b(?:please|and|so|but|also|just|always|you should|can you))\s*$", before, re.I
        )
    )


_ASKED = (
    r"\b(?:remember|(?:don['’]?t|do not|never) forget|keep in mind|bear in mind|make a note|note down|note)"
)
TO_REMEMBER_RULES = (
    Rule(
        TO_REMEMBER,
        re.compile(rf"{_ASKED}(?:(?: this| please)?:| that) +{_LONG}", re.IGNORECASE),
        _may_ask,
        _NOTHING,
    ),
)
