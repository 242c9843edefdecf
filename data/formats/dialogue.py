"""Dialogues, and the messages of a log that they are made of."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import regex

from data.corpus import Document

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
MAX_LINES_A_DIALOGUE = 10_000  # a plain file without a blank line is cut here, so that it cannot fill the memory
NOT_A_PERSON = "instruction or tool output"
NOTICE = "notice or attachment"
WRONG = "answer marked as wrong"

_NOT_IN_TALK = regex.compile(r"developer|observation|ipython|(?:tool|function)(?:s|calls?|response|results?|output)?")
_ROLES = dict.fromkeys(
    (
        *("user", "customer", "client", "visitor", "human", "guest", "enduser", "caller", "buyer", "consumer"),
        *("patient", "passenger", "requester", "prompter", "lead", "contact"),
    ),
    "user",
)
_ROLES |= dict.fromkeys(
    (
        *("assistant", "bot", "chatbot", "agent", "system", "support", "operator", "ai", "gpt", "chatgpt", "model"),
        *("llm", "claude", "gemini", "bard", "bing", "seller", "representative", "rep", "advisor", "adviser", "staff"),
        *("admin", "helpdesk", "virtualassistant", "virtualagent", "liveagent", "humanagent", "supportagent"),
        *("aiassistant", "customerservice", "customersupport", "robot"),
    ),
    "assistant",
)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What two or more people said in turn; `group` (film, show, dialogue) is never divided between splits.

    `roles` has "user" or "assistant" for each utterance or, where it is neither, what the log calls its speaker; it is
    None where the log says no roles. `weights`, 0 to 1, says how much of each utterance may be learned as a response;
    it is None where the log has nothing against learning them. `split` is the one that a corpus itself assigns.
    """

    id: str
    source: str
    group: str
    utterances: tuple[str, ...]
    roles: tuple[str, ...] | None = None
    weights: tuple[float, ...] | None = None
    split: str | None = None


class Message(NamedTuple):
    """A line of a log: who said it, what, in which role (see `Dialogue`), when, and how much of it may be learned."""

    speaker: str | None
    text: str
    role: str | None = None
    time: str = ""  # as the log writes it
    weight: float = 1.0


@dataclass(slots=True)
class Losses:
    """What of one document is not read: `counts` by reason, and the number of the first line that cannot be read."""

    counts: Counter[str] = field(default_factory=Counter)
    first_bad: int | None = None
    bad_lines: int = 0
    expected: str = ""  # what such a line should have been

    def bad(self, number: int, reason: str = "unreadable line") -> None:
        """Counts a line (in a list, an entry) that cannot be read; numbers begin with 1."""
        self.counts[reason] += 1
        self.bad_lines += 1
        self.name(number)

    def name(self, number: int) -> None:
        """Takes note of a line of which some bytes are no text."""
        self.first_bad = min(number, self.first_bad or number)

    @property
    def expectation(self) -> str:
        """The end of a sentence on what cannot be read: what was expected instead."""
        return f"; expected {self.expected}" if self.bad_lines and self.expected else ""

    def leave_out(self, reason: str) -> None:
        """Counts a line that was understood and is no part of a dialogue."""
        self.counts[reason] += 1


def merge_turns(messages: Iterable[tuple[str | None, str]]) -> tuple[str, ...]:
    """Utterances of (speaker, text) messages: what one speaker sends in a row is one; None is nobody twice."""
    return tuple(message.text for message in _merged(Message(*message) for message in messages))


def _merged(messages: Iterable[Message]) -> list[Message]:
    merged: list[Message] = []
    for message in messages:
        if not (text := message.text.strip()):
            continue
        if merged and message.speaker is not None and message.speaker == merged[-1].speaker:
            before = merged[-1]
            merged[-1] = before._replace(text=joined(before.text, text), weight=min(before.weight, message.weight))
        else:
            merged.append(message._replace(text=text))
    return merged


def joined(before: str, after: str) -> str:
    """What one speaker said in two lines, as sentences of one."""
    return f"{before}{'.' if before[-1:].isalnum() else ''} {after}".strip()


def dialogue_of(id: str, source: str, group: str, messages: Iterable[Message]) -> Dialogue:
    """What one speaker sends in a row as one utterance; where one has a role, a speaker without one stands for it."""
    merged = _merged(messages)
    utterances = tuple(message.text for message in merged)
    roles = tuple(message.role or message.speaker or "unnamed" for message in merged)
    weights = tuple(message.weight for message in merged)
    known = roles if any(message.role for message in merged) else None
    return Dialogue(id, source, group, utterances, known, weights if min(weights, default=1) < 1 else None)


def numbered(document: Document, number: int, messages: Iterable[Message]) -> Dialogue:
    """The dialogue of a document with this number."""
    id = f"{document.stem}/{number}"
    return dialogue_of(id, document.stem, id, messages)


def unnamed(utterances: Iterable[str]) -> Iterable[Message]:
    """Messages of people who take turns and are not named."""
    return (Message(None, text) for text in utterances)


@lru_cache(1 << 10)
def role_of(speaker: str | None) -> str | None:
    """ "user" or "assistant" where a log's word for a speaker means one of them."""
    return _ROLES.get(_label(speaker)) if speaker else None


@lru_cache(1 << 10)
def is_in_talk(speaker: str | None) -> bool:
    """Whether a speaker is no tool, function or developer of an assistant."""
    return not (speaker and _NOT_IN_TALK.fullmatch(_label(speaker)))


def in_talk(messages: Iterable[Message], losses: Losses) -> list[Message]:
    """The messages without those of tools, and of `system` where another assistant speaks, which it instructs."""
    said = list(messages)
    has_assistant = any(one.role == "assistant" and not _is_system(one.speaker) for one in said)
    talk = [one for one in said if is_in_talk(one.speaker) and not (has_assistant and _is_system(one.speaker))]
    for _ in range(len(said) - len(talk)):
        losses.leave_out(NOT_A_PERSON)
    return talk


def _is_system(speaker: str | None) -> bool:
    return speaker is not None and speaker.lower() == "system"


def _label(speaker: str) -> str:
    return "".join(filter(str.isalnum, speaker)).lower()
