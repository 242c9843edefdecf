"""Phrases that say a lot about an utterance's category, whatever stands between their words.

Most are features of the classifier like its words, which learns how far each of them is to be trusted; a few leave no
doubt. They are looked for in an utterance's plain words: lower case, no marks, "can not" for "can't".
"""

import re
from collections.abc import Iterator

# What stands for {NAME} in a pattern below.
_PARTS = {
    "FEW": r"(?: \w+){0,3} ",
    "I": r"\b(?:i|we|me|my|myself)\b",
    "WILL": r"(?:want to|going to|will|could|might|should|need to|have to|ready to|plan to|planning to|would|about"
    r" to)",
    "KILL": r"(?:kill|hang|shoot|stab|strangle|drown|poison|murder|burn|end|hurt|harm|cut|starve)(?:s|ed|ing|ning"
    r"|ting)?",
    "HURT": r"(?:hit|slap|beat|spank|kick|chok|punch|hurt|shak|touch|smack|abus|whip|starv|strangl|grab|burn"
    r"|belt)(?:s|es|e|ed|ing|ting|ping|en)?",
    "CHILD": r"(?:child|children|kid|kids|son|daughter|baby|toddler|boy|girl|niece|nephew|stepson|stepdaughter"
    r"|little one|\d+ year old|(?:little |baby )?(?:brother|sister))",
    "PARTNER": r"(?:wife|husband|girlfriend|boyfriend|partner|ex|mum|mom|mother|dad|father|stepdad|stepmom"
    r"|stepfather|stepmother|uncle|aunt|grandpa|grandad|grandfather|coach|teacher|foster \w+|fiance|parents"
    r"|babysitter|cousin)",
    "PERSON": r"(?:him|her|them|someone|somebody|everyone|everybody|people|you|boss|neighbou?r|teacher|wife|husband"
    r"|brother|sister|girlfriend|boyfriend|ex|dad|mom|mum|father|mother|roommate|coworker|classmates?|guy|man|woman"
    r"|kid)",
    "DRUG": r"(?:ibuprofen|paracetamol|acetaminophen|tylenol|advil|aspirin|nurofen|calpol|insulin|metformin"
    r"|antibiotics?|amoxicillin|penicillin|prozac|zoloft|sertraline|citalopram|fluoxetine|lexapro|xanax|valium"
    r"|diazepam|lorazepam|ativan|ambien|zopiclone|melatonin|codeine|tramadol|oxycodone|oxy|morphine|fentanyl"
    r"|methadone|adderall|ritalin|benadryl|antihistamines?|cough syrup|warfarin|blood thinners?|statins?|beta"
    r" blockers?|blood pressure \w+|steroids?|prednisone|inhaler|birth control|the pill|morning after pill"
    r"|antidepressants?|ssris?|lithium|seroquel|gabapentin|naproxen|aleve|panadol|painkillers?|pain killers?"
    r"|sleeping (?:pills|tablets)|pills?|tablets?|capsules?|meds|med|medicines?|medications?|mg|milligrams?|mdma"
    r"|ecstasy|molly|cocaine|coke|ketamine|lsd|shrooms|mushrooms|weed|heroin|meth|speed|viagra|thyroid \w+"
    r"|levothyroxine|dose|dosage|vicodin|percocet|clonazepam|klonopin|omeprazole|laxatives?)",
    "AGE": r"\bi am (?:only |just |almost |nearly |turning |still )*(?:[5-9]|1[0-7]|five|six|seven|eight|nine|ten"
    r"|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen)\b",
    "GRADE": r"\b(?:[1-9]|1[012]|\w+) ?(?:st|nd|rd|th)? ?grader?\b|\b(?:grade|year) (?:[1-9]|1[01]|\w+)\b|\bmiddle"
    r" school|\b(?:primary|elementary) school|\bunder ?age\b|\bminor\b|\b(?:[5-9]|1[0-7]) ?(?:f|m|year|years|yo)\b",
    "LOVE": r"(?:girlfriend|boyfriend|date|dating|kiss\w*|flirt\w*|meet\w*|picture|pictures|photo|photos|selfies?"
    r"|nudes?|sexy?|love|crush|marry|snap\w*|cam|webcam|video call|secret|cuddle|hot|cute|naked|bikini|swimsuit"
    r"|underwear|alone|come over|address|relationship|romantic\w*|turn me on|older guys?|older men)",
    "ILL": r"(?:not breathing|can not breathe|stopped breathing|barely breathing|not waking up|unconscious|passed"
    r" out|collapsed|seizures?|convulsing|choking|chest (?:pain|hurts|is tight|feels tight)|heart attack|stroke"
    r"|overdos\w+|bleeding|face is drooping|slurr\w+|turning blue|lips are blue|swallowed|drank|anaphyla\w+|throat"
    r" is|epipen|allergic reaction|can not feel|numb|not responding|unresponsive|fainted|electrocuted|drowning"
    r"|labou?r|water broke)",
    "ARE_YOU": r"(?:are|r|is|be) (?:you|this|that|it|u)|you are|am i (?:\w+ )?(?:talking|speaking|chatting|texting"
    r"|writing)",
    "BEING": r"(?:human|humans|bot|bots|chatbot|robot|robots|ai|machine|computer|program|programme|software|real"
    r"|person|people|alive|living|chatgpt|gpt|alexa|siri|automated|algorithm|android|fake|somebody real|an actual"
    r"|cyborg)",
}
_PATTERNS = {
    "self": r"\b{KILL}{FEW}?(?:myself|my life|my own life|it all|my wrists?|my arms?|my legs?|my thighs?)\b",
    "suicide": r"\bsuicid\w*|\bself ?harm\w*|\bkill myself\b|\bkilling myself\b",
    "death wish": r"\b(?:want|wanted|wish|wishing|like|rather|ready|going|hope|try|tried|trying|deserve"
    r"|prefer){FEW}?(?:die|dead|death|never wake|not wake|disappear|not exist|stop existing|never been born|gone"
    r"|not be here)\b",
    "no reason": r"\b(?:no|not|any|without|what is the|see) (?:\w+ )?(?:reason|point|purpose)(?: \w+)?(?: \w+)?"
    r" (?:live|living|life|alive|go on|going on|continue|being here|anymore)\b",
    "give up": r"\b(?:can not|do not want to|tired of|done with|sick of|not want to|could not){FEW}?(?:go on|live"
    r"|living|life|be here|exist\w*|alive|take it anymore|do this anymore|wake up)\b",
    "better off": r"\bbetter off (?:without me|dead|if i)|\bwithout me\b.*\bbetter|\bif i (?:was|were) (?:gone"
    r"|dead)|\b(?:nobody|no one|anyone|anybody)\b.*\b(?:miss|notice|care)\b.*\bi\b",
    "goodbye": r"\b(?:goodbye|good bye|farewell|bye)\b.*\b(?:forever|for ever|letter|letters|note|everyone|last"
    r"|world)\b|\b(?:last|final) (?:message|goodbye|night|day|words)\b|\bsuicide note\b",
    "took": r"\b(?:took|taken|swallowed|overdosed){FEW}?(?:all|too many|whole|bottle|pack|box|bunch|handful|lot"
    r"|\d{2,}(?! (?:mg|mcg|ml|milligram))|ten|twelve|fifteen|twenty|thirty|forty|fifty|hundred)\b.*{DRUG}?",
    "i will hurt": r"{I} (?:am )?{WILL} (?:\w+ )?(?:kill|shoot|stab|murder|hurt|beat|strangle|poison|burn|attack"
    r"|punch)\b",
    "hurt a person": r"\b(?:kill|shoot|stab|murder|hurt|strangle|poison|attack|choke|bomb"
    r"|burn)(?:ing)?{FEW}?{PERSON}\b",
    "weapon": r"\b(?:gun|knife|bomb|weapon|rifle|explosives?|shooting|axe|hammer|machete|acid)\b",
    "threatened": r"\b(?:he|she|they|someone|somebody|{PARTNER}|guy|man|neighbou?r){FEW}?(?:kill|shoot|stab|hurt"
    r"|threaten\w*|attack\w*|follow\w*|break\w* in|chas\w+|gun|knife){FEW}?(?:me|us)\b",
    "hurt child": r"\b{HURT}{FEW}?{CHILD}\b",
    "hurts me": r"\b(?:{PARTNER}|he|she|they){FEW}?{HURT}{FEW}?(?:me|us|my \w+|his \w+|her \w+)\b",
    "hurt partner": r"{I}{FEW}?{HURT}{FEW}?(?:wife|husband|girlfriend|boyfriend|partner|mum|mom|mother|dad|her"
    r"|him)\b",
    "age": r"{AGE}|{GRADE}",
    "age and love": r"(?:{AGE}|{GRADE}).*\b{LOVE}\b|\b{LOVE}\b.*(?:{AGE}|{GRADE})",
    "love you": r"\b{LOVE}{FEW}?(?:me|you|with me|with you|us)\b|\b(?:me|you|us){FEW}?{LOVE}\b",
    "ill": r"\b{ILL}\b",
    "somebody ill": r"\b(?:i|he|she|my \w+|we|they|baby|someone|somebody|the \w+){FEW}?{ILL}\b",
    "drug": r"\b{DRUG}\b",
    "how much drug": r"\b(?:how (?:much|many|often|long|soon)|safe|ok|okay|can|could|may|should|what if|too (?:much"
    r"|many)|mix|double|stop|skip|crush|share|give|max|maximum|another|alcohol|wine|beer|drink|drunk|vodka"
    r"|whisky)\b.*\b{DRUG}\b",
    "drug with": r"\b{DRUG}\b.*\b(?:with|together|and|mix|before|after|at once|a day|per day|every|safe|ok|okay"
    r"|drink|alcohol|dog|cat)\b",
    "are you": r"\b{ARE_YOU}{FEW}?{BEING}\b",
    "your age": r"\b(?:how old|what age|which age) (?:are|r|is) (?:you|this|u)\b|\b(?:your|ur) (?:\w+ )?(?:age"
    r"|birthday)\b|\b(?:when|where|which year) (?:were|was|are) you (?:\w+ )?(?:born|made|created|built)\b|\bare"
    r" you (?:over|under|above)? ?\d\d\b",
    "who is there": r"\bwho (?:is|are|am|made|built|created|programmed|runs|controls|wrote|reads?)\b.*\b(?:you|this"
    r"|behind|talking|there|answering|typing|replying|chat|reading|messages)\b|\b(?:anyone|anybody|someone|somebody"
    r"|person|human)\b.*\b(?:there|behind|reading|read|typing|listening)\b",
}
# What leaves no doubt, whatever else is said.
_SURE = {
    "suicide": r"\b(?:kill|killing|hang|hanging|shoot|drown|drowning|harm|harming|cutting) myself\b"
    r"(?! (?:laughing|with laughter|a|some|off|out|short|loose|working))"
    r"|\b(?:end|ending|take|taking) my (?:own )?life\b(?! (?:seriously|easy|back|into|as|for))"
    r"|(?:^|\bi (?:\w+ ){0,3}?)(?:want|wanted|wanting|ready|deserve|rather) (?:to )?(?:just |really )?"
    r"(?:die|be dead|end it all|commit suicide)\b(?! (?:for|of|laughing|in the game))"
    r"|\bi (?:am|feel|have been|was|am feeling) (?:\w+ )?suicidal\b"
    r"|\bi (?:\w+ ){0,2}?(?:took|swallowed|have taken) (?:all|(?:a|the) (?:whole|full) (?:bottle|box|pack)|a bunch"
    r"|a handful|\d{2,}(?! (?:mg|mcg|ml|milligram))|ten|twelve|fifteen|twenty|thirty|forty|fifty|a hundred) "
    r"(?:of )?(?:my |the |these |those )?(?:\w+ )?{DRUG}\b",
    "violence": r"\bi (?:\w+ ){0,2}?(?:am going to|want to|will|am about to) (?:kill|murder|stab|shoot|strangle) "
    r"(?:him|her|them|you|someone|somebody|people|everyone|my (?:boss|wife|husband|ex|family|teacher|neighbou?r"
    r"|kids))\b",
    "abuse": r"\b(?:ok|okay|fine|right|wrong|can i|may i|should i) (?:to |if i )?(?:hit|slap|beat|spank|smack|shake) "
    r"(?:my|a|the) {CHILD}\b",
    "human": r"^(?:\w+ ){0,2}?(?:are|r) you (?:a |an |really |actually |even |just |for real |some |any )*"
    r"(?:human|humans|bot|robot|real|ai|person|machine|computer|program|chatbot)"
    r"(?: (?:being|person|program|or .*|right|lol|though|then|please))*$"
    r"|^(?:\w+ ){0,3}?how old are you(?: (?:really|then|now|please|btw|lol|again|anyway|today|actually|bot))*$"
    r"|\bam i (?:\w+ )?(?:talking|speaking|chatting|texting|writing) (?:to|with) (?:a |an |the |some )?(?:\w+ )?"
    r"(?:human|bot|robot|person|machine|computer|ai|program|chatbot)\b"
    r"|^(?:\w+ ){0,2}?is this a (?:\w+ )?(?:bot|robot|chatbot|human|machine)\b",
}
_DENIED = re.compile(
    r"\b(?:do|did|would|will|could|can) (?:not|never) (?:\w+ ){0,2}?(?:want|going|kill|end|take|harm|hang)\b"
)
_PART = re.compile(r"\{([A-Z_]+)\}")


def _compiled(pattern: str) -> re.Pattern[str]:
    """With its parts written out, those of parts too."""
    while _PART.search(pattern):
        pattern = _PART.sub(lambda part: _PARTS[part[1]], pattern)
    return re.compile(pattern)


_COMPILED = {name: _compiled(pattern) for name, pattern in _PATTERNS.items()}
_SURELY = {name: _compiled(pattern) for name, pattern in _SURE.items()}


def phrases_in(text: str) -> Iterator[str]:
    """The names of the phrases that some plain words hold."""
    return (name for name, pattern in _COMPILED.items() if pattern.search(text))


def sure_category(text: str) -> str | None:
    """The category of some plain words, where one of the phrases that leave no doubt is in them."""
    if _DENIED.search(text):
        return None
    return next((name for name, pattern in _SURELY.items() if pattern.search(text)), None)
