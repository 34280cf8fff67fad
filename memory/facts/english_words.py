"""Words that people tell of themselves in, in English, as parts of patterns."""

MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b"
)
PETS = (
    r"dog|cat|puppy|kitten|rabbit|bunny|hamster|parrot|budgie|tortoise|turtle|goldfish|fish|horse|pony"
    r"|guinea pig|snake|lizard|gecko|ferret|rat|mouse|bird|hen"
)
_ONE_OF_KIN = r"mother|mum|mom|father|dad|husband|wife|spouse|partner|boyfriend|girlfriend|fianc[eé]e?"
CLOSE = (
    rf"{_ONE_OF_KIN}|(?:older |younger |big |little |elder |baby |twin |half )?(?:sister|brother)|son"
    r"|daughter|grand(?:mother|father|ma|pa|son|daughter)|aunt|uncle|cousin|niece|nephew|best friend"
    r"|stepmother|stepfather"
)
KIN = rf"{CLOSE}|friend|roommate|flatmate|boss|neighbou?r|teacher|colleague|therapist"
DATE = (
    rf"(?:\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {MONTH}(?:,? \d{{4}})?"
    rf"|{MONTH} (?:the )?\d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?"
    r"|\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}(?:[./]\d{2,4})?"
    rf"|the \d{{1,2}}(?:st|nd|rd|th)(?: of {MONTH})?|{MONTH} \d{{4}})"
)
_TIME_OF_DAY = r"(?: (?:morning|afternoon|evening|night))?"
WHEN = (
    rf"(?:(?:on |in |this |next |coming )*(?:{DATE}"
    rf"|(?:mon|tues|wednes|thurs|fri|satur|sun)day{_TIME_OF_DAY})|tomorrow{_TIME_OF_DAY}|tonight"
    r"|next (?:week|month|year|spring|summer|autumn|fall|winter)"
    r"|in (?:two|three|four|five|six|\d+) (?:days|weeks|months))"
)
JOB = (
    r"[a-z -]{0,30}?(?:teacher|nurse|engineer|doctor|lawyer|developer|programmer|designer|student|accountant"
    r"|architect|artist|baker|barista|carpenter|chef|cook|dentist|driver|electrician|farmer|firefighter"
    r"|gardener|journalist|librarian|manager|mechanic|midwife|musician|painter|paramedic|pharmacist"
    r"|photographer|physicist|pilot|plumber|poet|police officer|professor|psychologist|researcher|scientist"
    r"|secretary|soldier|surgeon|surveyor|tailor|translator|veterinarian|vet|waiter|waitress|writer|analyst"
    r"|consultant|therapist|beekeeper|bookseller|cashier|cellist|violinist|pianist|welder|lifeguard)"
)
LANGUAGES = (
    r"(?:english|korean|german|french|spanish|italian|dutch|portuguese|swedish|norwegian|danish|finnish"
    r"|polish|czech|russian|ukrainian|greek|turkish|arabic|hebrew|persian|farsi|hindi|urdu|bengali|tamil"
    r"|thai|vietnamese|indonesian|malay|japanese|chinese|mandarin|cantonese|latin|welsh|irish|catalan"
    r"|hungarian|romanian|swahili|sign language)"
)
ILLNESS = (
    r"(?:type [12] )?diabetes|asthma|epilepsy|migraines?|insomnia|anxiety|depression|adhd|autism|dyslexia"
    r"|arthritis|high blood pressure|a heart condition|celiac disease|coeliac disease|hay fever|eczema"
    r"|tinnitus|vertigo|anemia|anaemia|ibs|endometriosis|a pacemaker"
)
DIET = (
    r"vegan|vegetarian|pescatarian|pescetarian|lactose[- ]intolerant|gluten[- ]intolerant|c(?:o)?eliac"
    r"|teetotal|diabetic"
)
