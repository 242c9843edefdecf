"""What stands in a message but is not said in it: the reasoning of a model, the tokens of a chat template, HTML, a mail
that is answered, a signature.
"""

import regex

# Elements whose content nobody says.
_REASONING = r"think(?:ing)?|thoughts?|reasoning|reflection|scratchpad"
_SILENT = rf"{_REASONING}|tool_calls?|tool_response|function_calls?|style|script|noscript|svg"
_QUOTING = rf"{_SILENT}|head|blockquote"
_MAX_NESTED = 8

_MAY_STAND = regex.compile(r"[<>◁\n]|\[/?[A-Z]|##|--|wrote:|Sent from|Get Outlook")
_OTHER_BRACKETS = regex.compile(r"\[(/?)THINK\]|◁(/?)think▷|<\|(?:START|(END))_THINKING\|>")
_ELEMENT = regex.compile(
    rf"<!--(?:(?!<!--).)*?-->|<({_QUOTING})\b[^<>]*>(?:(?!<\1\b).)*?</\1\s*>", regex.DOTALL | regex.IGNORECASE
)
_NEVER_CLOSED = regex.compile(rf"<(?:{_SILENT})\b[^<>]*>.*", regex.DOTALL | regex.IGNORECASE)
_NEVER_OPENED = regex.compile(rf"^.*</(?:{_REASONING})\s*>", regex.DOTALL | regex.IGNORECASE)
_BLOCK = regex.compile(r"</?(?:br|p|div|li|ul|ol|tr|td|th|table|h[1-6]|hr|blockquote)\b[^<>]*>", regex.IGNORECASE)
_TAG = regex.compile(r"</?[a-zA-Z][^<>]*>|<![^<>]*>")

_SYSTEM_PROMPT = regex.compile(
    r"<\|im_start\|>\s*system\b.*?(?:<\|im_end\|>|\Z)|<\|start_header_id\|>\s*system\b.*?(?:<\|eot_id\|>|\Z)"
    r"|<<SYS>>.*?(?:<</SYS>>|\Z)|\[SYSTEM_PROMPT\].*?(?:\[/SYSTEM_PROMPT\]|\Z)|<\|system\|>.*?(?=<\|user\|>|\Z)"
    r"|<\|channel\|>\s*(?:analysis|commentary)\b.*?(?:<\|end\|>|<\|call\|>|(?=<\|channel\|>\s*final)|$)"
    r"|\[(AVAILABLE_TOOLS|TOOL_RESULTS)\].*?(?:\[/\1\]|\Z)|\[TOOL_CALLS\].*",
    regex.DOTALL,
)
# The role that follows the token is none of the words.
_TURN_START = regex.compile(r"(?:<\|(?:im_start|start_header_id|start|channel)\|>|<start_of_turn>)[ \t]*\w*")
# What a model wrote after the end of its turn is somebody else's, or nobody's.
_TURN_END = regex.compile(
    r"<\|(?:im_end|eot_id|eom_id|end|return|endoftext|end_of_text|END_OF_TURN_TOKEN)\|>|<end_of_turn>"
    r"|<｜end▁of▁sentence｜>|</s>\s*<s>"
)
_TOKEN = regex.compile(
    r"<[|｜][^<>|｜\n]{1,40}[|｜]>|\[/?INST\]|<</?SYS>>"
    r"|^[ \t]*###[ \t]*(?:Instruction|Input|Response|User|Assistant|Human):",
    regex.MULTILINE,
)

_WROTE = r"(?:wrote|schrieb|a écrit|escribió|ha scritto|escreveu|schreef|skrev|napisał(?:\(a\)|a)?)"
_ANSWERED_MAIL = regex.compile(
    # "On Monday at 10:00 somebody wrote:", with an address, a time of day or a quotation, or it could be a story.
    rf"(?:^|(?<=[.!?][ \t]{{1,3}}))[> \t]*(?:On|Am|Le|El|Il|Em|Op|Den|W dniu)\s"
    rf"(?=.{{0,200}}?(?:@|\d[:.h]\d\d)|[^\n]{{5,200}}:[^\S\n]*\n\s*>).{{5,250}}?\b{_WROTE}[^\n:]{{0,60}}:(?=\s|$).*"
    r"|(?<!-)-{2,}\s*(?:Original Message|Forwarded message|Ursprüngliche Nachricht|Weitergeleitete Nachricht"
    r"|Message d'origine|Message original|Mensaje original|Mensagem original|Messaggio originale"
    r"|Oorspronkelijk bericht)\s*-{2,}.*"
    r"|^Begin forwarded message:.*"
    r"|^[*> \t]*(?:From|Von|De|Da|Van|Från|Fra)\s?:[^\n]*\n(?:[^\n]*\n){0,2}?"
    r"[*> \t]*(?:Sent|Date|To|Gesendet|Datum|An|Envoyé|À|Enviad[oa]|Para|Inviato|Verzonden|Skickat|Sendt)\s?:.*",
    regex.DOTALL | regex.MULTILINE,
)
_QUOTED_LINE = regex.compile(r"^[ \t]*>(?![:;=_.^<-]{1,2}\S?[ \t]*$)[^\n]*", regex.MULTILINE)
_SIGNATURE = regex.compile(
    r"^(?:--|—|__)[ \t]*$.*|##-(?:(?!##-).)*?-##"
    r"|(?:^|(?<=[.!?][ \t]{1,3}))[ \t]*(?:Sent from (?:my|Mail|Outlook|Yahoo|Gmail|Samsung|Proton)\b|Get Outlook for\b"
    r"|Von meinem [^\n]{2,40}gesendet|Gesendet (?:von|mit) (?:meinem|der|Outlook)\b|Envoyé (?:de|depuis) mon\b"
    r"|Enviado (?:desde mi|do meu)\b|Inviato da(?:l mio)? i\w+|Verstuurd vanaf mijn\b|Skickat från min\b)[^\n]*",
    regex.DOTALL | regex.MULTILINE,
)


def without_markup(text: str) -> str:
    """What is said in a message, its lines kept; nothing, where all of it is markup or quoted."""
    if not _MAY_STAND.search(text):
        return text
    text = _OTHER_BRACKETS.sub(lambda mark: f"<{'/' if any(mark.groups()) else ''}think>", text)
    for _ in range(_MAX_NESTED):
        text, count = _ELEMENT.subn("\n", text)
        if not count:
            break
    text = _NEVER_OPENED.sub("", _NEVER_CLOSED.sub("", text))
    text = _first_turn(_TURN_START.sub("", _SYSTEM_PROMPT.sub("", text)))
    text = _BLOCK.sub("\n", _TOKEN.sub("", text))
    return _TAG.sub("", _without_mail(text))


def _first_turn(text: str) -> str:
    """The text up to the first end of a turn that has words before it."""
    for end in _TURN_END.finditer(text):
        if any(map(str.isalnum, before := text[: end.start()])):
            return before
    return text


def _without_mail(text: str) -> str:
    text = _SIGNATURE.sub("", _ANSWERED_MAIL.sub("", text))
    return _QUOTED_LINE.sub("", text) if "\n" in text else text
