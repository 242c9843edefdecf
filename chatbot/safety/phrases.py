# ruff: noqa: E501
"""Phrases that say a lot about an utterance's category, whatever stands between their words.

They are features of the classifier like its words, which learns how far each of them is to be trusted. They are looked
for in an utterance's plain words: lower case, no marks, "can not" for "can't", "i am" for "i'm".
"""

import re
from collections.abc import Iterator

_FEW = r"(?: \w+){0,3} "  # up to three words between
_PARTS = {
    "I": r"\b(?:i|we|me|my|myself)\b",
    "WILL": r"(?:want to|going to|will|could|might|should|need to|have to|ready to|plan to|planning to|would|about to)",
    "KILL": r"(?:kill|hang|shoot|stab|strangle|drown|poison|murder|burn|end|hurt|harm|cut|starve)(?:s|ed|ing|ning|ting)?",
    "HURT": r"(?:hit|slap|beat|spank|kick|chok|punch|hurt|shak|touch|smack|abus|whip|starv|strangl|grab|burn|belt)"
    r"(?:s|es|e|ed|ing|ting|ping|en)?",
    "CHILD": r"(?:child|children|kid|kids|son|daughter|baby|toddler|boy|girl|niece|nephew|stepson|stepdaughter"
    r"|little one|\d+ year old|(?:little |baby )?(?:brother|sister))",
    "PARTNER": r"(?:wife|husband|girlfriend|boyfriend|partner|ex|mum|mom|mother|dad|father|stepdad|stepmom|stepfather"
    r"|stepmother|uncle|aunt|grandpa|grandad|grandfather|coach|teacher|foster \w+|fiance|parents|babysitter|cousin)",
    "PERSON": r"(?:him|her|them|someone|somebody|everyone|everybody|people|you|boss|neighbou?r|teacher|wife|husband"
    r"|brother|sister|girlfriend|boyfriend|ex|dad|mom|mum|father|mother|roommate|coworker|classmates?|guy|man|woman|kid)",
    "DRUG": r"(?:ibuprofen|paracetamol|acetaminophen|tylenol|advil|aspirin|nurofen|calpol|insulin|metformin|antibiotics?"
    r"|amoxicillin|penicillin|prozac|zoloft|sertraline|citalopram|fluoxetine|lexapro|xanax|valium|diazepam|lorazepam"
    r"|ativan|ambien|zopiclone|melatonin|codeine|tramadol|oxycodone|oxy|morphine|fentanyl|methadone|adderall|ritalin"
    r"|benadryl|antihistamines?|cough syrup|warfarin|blood thinners?|statins?|beta blockers?|blood pressure \w+|steroids?"
    r"|prednisone|inhaler|birth control|the pill|morning after pill|antidepressants?|ssris?|lithium|seroquel|gabapentin"
    r"|naproxen|aleve|panadol|painkillers?|pain killers?|sleeping (?:pills|tablets)|pills?|tablets?|capsules?|meds|med"
    r"|medicines?|medications?|mg|milligrams?|mdma|ecstasy|molly|cocaine|coke|ketamine|lsd|shrooms|mushrooms|weed|heroin"
    r"|meth|speed|viagra|thyroid \w+|levothyroxine|dose|dosage|vicodin|percocet|clonazepam|klonopin|omeprazole|laxatives?)",
    "AGE": r"\bi am (?:only |just |almost |nearly |turning |still )*(?:[5-9]|1[0-7]|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|thirteen|fourteen|fifteen|sixteen|seventeen)\b",
    "GRADE": r"\b(?:[1-9]|1[012]|\w+) ?(?:st|nd|rd|th)? ?grader?\b|\b(?:grade|year) (?:[1-9]|1[01]|\w+)\b|\bmiddle school"
    r"|\b(?:primary|elementary) school|\bunder ?age\b|\bminor\b|\b(?:[5-9]|1[0-7]) ?(?:f|m|year|years|yo)\b",
    "LOVE": r"(?:girlfriend|boyfriend|date|dating|kiss\w*|flirt\w*|meet\w*|picture|pictures|photo|photos|selfies?|nudes?"
    r"|sexy?|love|crush|marry|snap\w*|cam|webcam|video call|secret|cuddle|hot|cute|naked|bikini|swimsuit|underwear|alone"
    r"|come over|address|relationship|romantic\w*|turn me on|older guys?|older men)",
    "ILL": r"(?:not breathing|can not breathe|stopped breathing|barely breathing|not waking up|unconscious|passed out"
    r"|collapsed|seizures?|convulsing|choking|chest (?:pain|hurts|is tight|feels tight)|heart attack|stroke|overdos\w+"
    r"|bleeding|face is drooping|slurr\w+|turning blue|lips are blue|swallowed|drank|anaphyla\w+|throat is|epipen"
    r"|allergic reaction|can not feel|numb|not responding|unresponsive|fainted|electrocuted|drowning|labou?r|water broke)",
    "ARE_YOU": r"(?:are|r|is|be) (?:you|this|that|it|u)|you are|am i (?:\w+ )?(?:talking|speaking|chatting|texting|writing)",
    "BEING": r"(?:human|humans|bot|bots|chatbot|robot|robots|ai|machine|computer|program|programme|software|real|person"
    r"|people|alive|living|chatgpt|gpt|alexa|siri|automated|algorithm|android|fake|somebody real|an actual|cyborg)",
}  # fmt: skip
_PATTERNS = {
    "self": r"\b{KILL}" + _FEW + r"?(?:myself|my life|my own life|it all|my wrists?|my arms?|my legs?|my thighs?)\b",
    "suicide": r"\bsuicid\w*|\bself ?harm\w*|\bkill myself\b|\bkilling myself\b",
    "death wish": r"\b(?:want|wanted|wish|wishing|like|rather|ready|going|hope|try|tried|trying|deserve|prefer)"
    + _FEW
    + r"?(?:die|dead|death|never wake|not wake|disappear|not exist|stop existing|never been born|gone|not be here)\b",
    "no reason": r"\b(?:no|not|any|without|what is the|see) (?:\w+ )?(?:reason|point|purpose)(?: \w+)?(?: \w+)? "
    r"(?:live|living|life|alive|go on|going on|continue|being here|anymore)\b",
    "give up": r"\b(?:can not|do not want to|tired of|done with|sick of|not want to|could not)" + _FEW
    + r"?(?:go on|live|living|life|be here|exist\w*|alive|take it anymore|do this anymore|wake up)\b",
    "better off": r"\bbetter off (?:without me|dead|if i)|\bwithout me\b.*\bbetter|\bif i (?:was|were) (?:gone|dead)"
    r"|\b(?:nobody|no one|anyone|anybody)\b.*\b(?:miss|notice|care)\b.*\bi\b",
    "goodbye": r"\b(?:goodbye|good bye|farewell|bye)\b.*\b(?:forever|for ever|letter|letters|note|everyone|last|world)\b"
    r"|\b(?:last|final) (?:message|goodbye|night|day|words)\b|\bsuicide note\b",
    "took": r"\b(?:took|taken|swallowed|overdosed)" + _FEW + r"?(?:all|too many|whole|bottle|pack|box|bunch|handful|lot"
    r"|\d{2,}|ten|twelve|fifteen|twenty|thirty|forty|fifty|hundred)\b" + r".*{DRUG}?",
    "i will hurt": r"{I} (?:am )?{WILL} (?:\w+ )?(?:kill|shoot|stab|murder|hurt|beat|strangle|poison|burn|attack|punch)\b",
    "hurt a person": r"\b(?:kill|shoot|stab|murder|hurt|strangle|poison|attack|choke|bomb|burn)(?:ing)?" + _FEW + r"?{PERSON}\b",
    "weapon": r"\b(?:gun|knife|bomb|weapon|rifle|explosives?|shooting|axe|hammer|machete|acid)\b",
    "threatened": r"\b(?:he|she|they|someone|somebody|{PARTNER}|guy|man|neighbou?r)" + _FEW
    + r"?(?:kill|shoot|stab|hurt|threaten\w*|attack\w*|follow\w*|break\w* in|chas\w+|gun|knife)" + _FEW + r"?(?:me|us)\b",
    "hurt child": r"\b{HURT}" + _FEW + r"?{CHILD}\b",
    "hurts me": r"\b(?:{PARTNER}|he|she|they)" + _FEW + r"?{HURT}" + _FEW + r"?(?:me|us|my \w+|his \w+|her \w+)\b",
    "hurt partner": r"{I}" + _FEW + r"?{HURT}" + _FEW + r"?(?:wife|husband|girlfriend|boyfriend|partner|mum|mom|mother|dad|her|him)\b",
    "age": r"{AGE}|{GRADE}",
    "age and love": r"(?:{AGE}|{GRADE}).*\b{LOVE}\b|\b{LOVE}\b.*(?:{AGE}|{GRADE})",
    "love you": r"\b{LOVE}" + _FEW + r"?(?:me|you|with me|with you|us)\b|\b(?:me|you|us)" + _FEW + r"?{LOVE}\b",
    "ill": r"\b{ILL}\b",
    "somebody ill": r"\b(?:i|he|she|my \w+|we|they|baby|someone|somebody|the \w+)" + _FEW + r"?{ILL}\b",
    "drug": r"\b{DRUG}\b",
    "how much drug": r"\b(?:how (?:much|many|often|long|soon)|safe|ok|okay|can|could|may|should|what if|too (?:much|many)|mix"
    r"|double|stop|skip|crush|share|give|max|maximum|another|alcohol|wine|beer|drink|drunk|vodka|whisky)\b.*\b{DRUG}\b",
    "drug with": r"\b{DRUG}\b.*\b(?:with|together|and|mix|before|after|at once|a day|per day|every|safe|ok|okay|drink|alcohol|dog|cat)\b",
    "are you": r"\b{ARE_YOU}" + _FEW + r"?{BEING}\b",
    "your age": r"\b(?:how old|what age|which age) (?:are|r|is) (?:you|this|u)\b|\b(?:your|ur) (?:\w+ )?(?:age|birthday)\b"
    r"|\b(?:when|where|which year) (?:were|was|are) you (?:\w+ )?(?:born|made|created|built)\b|\bare you (?:over|under|above)? ?\d\d\b",
    "who is there": r"\bwho (?:is|are|am|made|built|created|programmed|runs|controls|wrote|reads?)\b.*\b(?:you|this|behind|talking|there|answering"
    r"|typing|replying|chat|reading|messages)\b|\b(?:anyone|anybody|someone|somebody|person|human)\b.*\b(?:there|behind|reading|read|typing|listening)\b",
}  # fmt: skip
_PART = re.compile(r"\{([A-Z_]+)\}")


def _compiled(pattern: str) -> re.Pattern[str]:
    """With its parts written out, those of parts too."""
    while _PART.search(pattern):
        pattern = _PART.sub(lambda part: _PARTS[part[1]], pattern)
    return re.compile(pattern)


_COMPILED = {name: _compiled(pattern) for name, pattern in _PATTERNS.items()}


def phrases_in(text: str) -> Iterator[str]:
    """The names of the phrases that some plain words hold."""
    return (name for name, pattern in _COMPILED.items() if pattern.search(text))
