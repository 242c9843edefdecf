"""Text with one utterance or message a line: plain, or with times and names as chat programs write it.

WhatsApp, Telegram, Discord, Slack, Zoom, IRC clients and chat widgets each decorate a message in their way; a line that
begins with none of it goes on with the message before.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import regex

from data.corpus import Document, DocumentError
from data.formats.dialogue import (
    MAX_LINES_A_DIALOGUE,
    NOTICE,
    Dialogue,
    Losses,
    Message,
    dialogue_of,
    in_talk,
    joined,
    numbered,
    role_of,
)
from data.formats.order import Row, by_conversation

_LOOKED_AT = 300  # lines
_MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2068\u2069\ufeff"  # of the direction of writing, which phones add
_NAME = regex.compile(r"^\s*([\p{L}\d][\p{L}\d_.' -]{0,24}):\s+")

_DAY = (
    r"(?:\d{1,4}[./-]\s?\d{1,2}[./-]\s?\d{1,4}\.?|\d{1,2}\.?[ -](?:de )?\p{L}{3,10}\.?[ -](?:de )?\d{2,4}"
    r"|\p{L}{3,9}\.? \d{1,2},? \d{4}|\d{1,2}[./]\d{1,2}|(?:Today|Yesterday)(?: at)?)"
)
_CLOCK = r"\d{1,2}[:.]\d\d(?:[:.]\d\d(?:[.,]\d+)?)?(?:\s?[ap]\.?\s?m\b\.?)?(?:\s?(?:UTC|GMT|Z|[+-]\d\d:?\d\d))?"
_TIME = rf"(?P<time>(?:\p{{L}}{{3,9}},? )?(?:{_DAY}(?:,|T|\s|\sat\s|\s[-–]\s)\s?{_CLOCK}|{_CLOCK}(?:,?\s{_DAY})?))"
_WHO = r"(?P<name>(?![-<=*]+\s|[^:\"“]*[\"“][^:\"”]*:)[^\s:<>\[\](){}=|][^:<>\[\]|?!\t\n]{0,48}?)"
_TEXT = r"(?P<text>.*)"
_MOMENT = regex.compile(rf"[\[(]?(?:{_TIME}|{_DAY})[\])]?", regex.IGNORECASE)
_STAMP = regex.compile(rf"^[\[(]?\s?{_TIME}\s?(?:[\])]|(?=[\s:-]|$))", regex.IGNORECASE)
# How programs begin a message; where a name stands above its text, there is no group of text.
_FORMS = [
    regex.compile(form, regex.IGNORECASE)
    for form in (
        rf"^[\[(]?{_TIME}[\])]?\s+From\s+{_WHO}\s+to\s+[^:]{{1,60}}:\s*{_TEXT}$",  # Zoom
        rf"^[\[(]?\s?{_TIME}\s?[\])]?\s*[-–—:|,]?\s*{_WHO}:\s+{_TEXT}$",  # WhatsApp, Pidgin, widgets
        rf"^(?:[\[(]?{_TIME}[\])]?:?\s*)?<[ ~&@%+]?(?P<name>[^\s<>/]{{1,32}})>\s+{_TEXT}$",  # IRC
        rf"^[\[(]{_TIME}[\])]\s+(?P<name>\S[^:\n]{{0,40}}?)(?: \(pinned\))?:?$",  # Discord's exporter, Teams
        rf"^{_TIME}\t{_WHO}\t{_TEXT}$",  # WeeChat, Line
        rf"^{_WHO},? \[{_TIME}\]:?$",  # Telegram, Slack
        rf"^{_WHO}(?: [—–-] |\s{{2,}}|\t|  ?APP  ?){_TIME}$",  # Discord's and Slack's windows
    )
]
_IRC = _FORMS[2]
_FRAME = regex.compile(r"[=\-_*]{8,}")  # Discord's exporter draws lines around its own words
_EXTRA = regex.compile(r"\{(?:Attachments|Embed|Reactions|Stickers|Poll)\}")
_EDITED = regex.compile(r"(?<!\s)\s*(?:<This message was edited>|\(edited\))$")
_NOTICE = regex.compile(
    r"<[^<>]{3,40}>|null|location: https?:.*|POLL:|.{1,60} \(file attached\)"
    r"|\[ ?(?:Photo|Video|Sticker|File|Voice message|Album|GIF|Location|Contact|Poll) ?\]"
    r"|(?:image|video|audio|sticker|GIF|document|contact card|media) omitted|Missed (?:voice|video) call.*"
    r"|(?:This message was deleted|You deleted this message|Waiting for this message)\b.*"
    r"|Messages and calls are end-to-end encrypted.*|Messages to this (?:chat|group) .* end-to-end encryption.*"
    r"|(?:Joined the server|Pinned a message|Started a (?:call|thread)|Changed the channel)\b.*",
    regex.IGNORECASE,
)


def plain_text(document: Document, losses: Losses) -> Iterator[Dialogue]:
    """One utterance a line, a blank line between dialogues; names before a colon, if any, tell the speakers."""
    messages: list[Message] = []
    number = 0
    for line in chain(document.lines(), [""]):
        if line.strip() and len(messages) < MAX_LINES_A_DIALOGUE:
            name = _NAME.match(line)
            text = line[name.end() :] if name else line
            if _MOMENT.fullmatch(text.strip()):
                losses.leave_out(NOTICE)
            else:
                messages.append(Message(name[1], text, role_of(name[1])) if name else Message(None, text))
        elif messages:
            if len(messages) > 1:
                yield numbered(document, number, in_talk(messages, losses))
            else:
                losses.leave_out("left alone")
            messages, number = [], number + 1


def is_chat_log(head: str) -> bool:
    """Whether messages begin as some chat program begins them."""
    return _form_of(_lines(head)) is not None


def demand_names(head: str) -> None:
    """Raises DocumentError where lines have times, and nobody's name in a place that is known."""
    lines = _lines(head)
    stamps = [stamp for line in lines if (stamp := _STAMP.match(line))]
    alone = sum(stamp.end() == len(stamp.string) for stamp in stamps)
    if len(stamps) * 2 > max(3, len(lines)) or alone * 6 > max(6, len(lines)):
        raise DocumentError("lines with times and without names that are understood; give speaker and text in a table")


def chat_log(document: Document, losses: Losses) -> Iterator[Dialogue]:
    """What a chat program exported, or what was copied out of its window."""
    form = _form_of(_lines(document.head))
    assert form is not None
    for id, messages in by_conversation(("0", row) for row in _messages(document.lines(), form, losses)):
        name = f"{document.stem}/{id}"
        yield dialogue_of(name, document.stem, name, in_talk(messages, losses))


def _lines(head: str) -> list[str]:
    return [line.strip(_MARKS).strip() for line in head.split("\n")[:_LOOKED_AT] if line.strip()]


def _form_of(lines: Sequence[str]) -> "regex.Pattern[str] | None":
    votes = Counter(form for line in lines if (form := _begun(line)))
    form, count = max(votes.items(), key=lambda vote: vote[1], default=(None, 0))
    return form if count > 1 and (form is not _IRC or count * 3 > len(lines)) else None


def _begun(line: str) -> "regex.Pattern[str] | None":
    return next((form for form in _FORMS if form.match(line)), None)


def _messages(lines: Iterable[str], form: "regex.Pattern[str]", losses: Losses) -> Iterator[Row]:
    """The messages of a form. What no message begins belongs to the one before, but for what the program says."""
    has_text = "text" in form.groupindex
    message, is_extra = None, False
    for line in lines:
        line = line.rstrip()
        bare = line.strip(_MARKS)
        begin = form.match(bare)
        if begin or _FRAME.fullmatch(bare) or (has_text and _STAMP.match(bare)) or form is _IRC:
            yield from _finished(message, losses)
            message = _message(begin) if begin else None
            if not begin and bare and not _FRAME.fullmatch(bare):
                losses.leave_out(NOTICE)
            is_extra = False
        elif _EXTRA.fullmatch(bare):
            is_extra = True
        elif not bare:
            is_extra = False
        elif message and not is_extra:
            message = message._replace(text=joined(message.text, bare))
        else:
            losses.leave_out(NOTICE)
    yield from _finished(message, losses)


def _message(begin: "regex.Match[str]") -> Message:
    name = begin["name"].strip(_MARKS + " ~@+%&")
    text = begin["text"].strip(" ") if "text" in begin.re.groupindex else ""
    return Message(name, text, role_of(name), begin["time"] or "")


def _finished(message: Message | None, losses: Losses) -> Iterator[Row]:
    """A message once it is whole, unless a program wrote it: a phone sets a mark of direction before such words."""
    if message is None:
        return
    text = _EDITED.sub("", message.text)
    if not text or text[0] == _MARKS[0] or _NOTICE.fullmatch(text.strip(_MARKS)):
        losses.leave_out(NOTICE)
    else:
        yield (message._replace(text=text.strip(_MARKS)),)
