"""What logs call the parts of a message: the headings of a table, or the keys of JSON."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import regex

from data.formats.dialogue import Message, role_of

# Of several names that are there, the first one here counts.
_NAMES = {
    "conversation": (
        *("conversation_id", "dialogue_id", "dialog_id", "session_id", "chat_id", "thread_id", "ticket_id", "case_id"),
        *("conv_id", "chat_session_id", "ticket_number", "conversation", "dialogue", "dialog", "session", "thread"),
        *("thread_ts", "ticket"),
    ),
    "role": (
        *("role", "sender_type", "author_type", "sender_role", "author_role", "speaker_role", "speaker_type"),
        *("user_type", "participant_type", "participant_role", "from_type"),
    ),
    "speaker": (
        *("speaker", "sender", "author", "from", "participant", "sender_name", "author_name", "from_name", "name"),
        *("speaker_id", "sender_id", "author_id", "from_id", "username", "user_name", "nick", "user", "user_id"),
        *("creator", "agent"),
    ),
    "text": (
        *("text", "message", "content", "utterance", "body", "message_text", "message_body", "message_content", "msg"),
        "comment",
    ),
    "time": (
        *("timestamp", "time", "datetime", "date_time", "created_at", "sent_at", "timestamp_ms", "created", "ts"),
        *("create_time", "created_date", "created_utc", "created_on", "sent_on", "received_at", "date_sent"),
        *("date_unixtime", "date"),
        *("turn", "turn_id", "turn_number", "turn_index", "message_index", "message_number", "sequence", "seq"),
    ),
    "date": ("date", "day"),
    "id": ("message_id", "tweet_id", "post_id", "comment_id", "msg_id", "id"),
    "reply": (
        *("in_response_to_tweet_id", "in_reply_to_status_id", "in_response_to", "in_reply_to", "in_reply_to_id"),
        *("in_reply_to_message_id", "reply_to", "reply_to_id", "reply_to_message_id", "parent_id"),
        *("parent_message_id", "parent"),
    ),
    "inbound": ("inbound", "is_inbound", "incoming", "is_incoming", "direction"),
    "weight": ("weight",),
    "label": ("label", "is_correct", "correct", "is_answer"),
}
_QUESTIONS = ("question", "instruction", "input", "prompt", "query", "context", "q", "source", "src")
_ANSWERS = ("answer", "output", "response", "completion", "reply", "a", "sentence", "target", "tgt")
_SAID = {"message", "input", "query", "text", "utterance", "question", "response", "reply", "output", "answer"}
_FLAG = regex.compile(r"(?:is|from)_(\w+)")
_TRUE = {"true", "1", "1.0", "yes", "y", "t", "inbound", "incoming", "in", "received"}
_FALSE = {"false", "0", "0.0", "no", "n", "f", "outbound", "outgoing", "out", "sent"}
_ONLY_CLOCK = regex.compile(r"\d{1,2}:\d\d.{0,12}")
_HUMP = regex.compile(r"(?<=[a-z\d])(?=\p{Lu})")


def heading(name: str) -> str:
    """A name of a column in small letters and underscores."""
    return regex.sub(r"\W+", "_", split_humps(name.strip())).strip("_").lower()


def split_humps(name: str) -> str:
    """A name in humps, such as chatId, with underscores between its words."""
    return _HUMP.sub("_", name)


@lru_cache(1 << 10)
def columns_of(names: tuple[str, ...]) -> Mapping[str, str]:
    """What the columns of these names are for -> the name of each that counts.

    A column of whom a message comes from is "inbound" or "outbound" by what its true values mean.
    """
    named = {heading(name): name for name in reversed(names)}
    found = {
        part: named[usual] for part, usual in ((part, _first(usual, named)) for part, usual in _NAMES.items()) if usual
    }
    for name in named:
        if (flag := _FLAG.fullmatch(name)) and (role := role_of(flag[1])):
            found.setdefault("inbound" if role == "user" else "outbound", named[name])
    question, answer = _first(_QUESTIONS, named), _first(_ANSWERS, named)
    if "text" not in found:
        question = question or next((name for name in named if _said_by(name) == "user"), None)
        answer = answer or next((name for name in named if _said_by(name) == "assistant"), None)
    if question and answer:
        found |= {"question": named[question], "answer": named[answer]}
    return found


def _first(usual: Iterable[str], named: Mapping[str, str]) -> str | None:
    return next((name for name in usual if name in named), None)


def _said_by(name: str) -> str | None:
    """Whose words stand in a column such as `user` or `bot_response`."""
    words = name.split("_")
    return role_of("".join(words[:-1] if words[-1] in _SAID else words))


def holds_messages(columns: Mapping[str, str]) -> bool:
    """Whether a row is a message."""
    return "text" in columns and bool(
        columns.keys() & {"conversation", "role", "speaker", "inbound", "outbound", "reply"}
    )


class Entry(NamedTuple):
    """A row of a log: a message, which conversation it belongs to, its id and that of what it answers."""

    conversation: str
    message: Message
    id: str
    answers: str


def entry_of(row: Mapping[str, Any], columns: Mapping[str, str]) -> Entry:
    """What a row of these columns says."""
    cell = defaultdict(str, ((part, _cell(row.get(name))) for part, name in columns.items()))
    named, speaker, time = cell["role"], cell["speaker"], cell["time"]
    role = role_of(named) or named or _role_by_flag(cell["inbound"], cell["outbound"]) or role_of(speaker)
    weight = 0.0 if cell["weight"].lower() in _FALSE else 1.0
    time = f"{cell['date']} {time}" if _ONLY_CLOCK.fullmatch(time) else time
    message = Message(speaker or named or None, cell["text"], role or None, time, weight)
    return Entry(cell["conversation"] or "0", message, cell["id"], cell["reply"])


def _cell(value: Any) -> str:
    return "" if value is None or isinstance(value, list | dict) else str(value).strip()


def _role_by_flag(inbound: str, outbound: str) -> str | None:
    """Who speaks, by a column that says whether a message came in or went out, or whether a bot or a user wrote it."""
    for flag, roles in ((inbound, ("user", "assistant")), (outbound, ("assistant", "user"))):
        if flag.lower() in _TRUE | _FALSE:
            return roles[flag.lower() in _FALSE]
    return None


def is_wrong(row: Mapping[str, Any], columns: Mapping[str, str]) -> bool:
    """Whether a pair is marked as one that does not belong together."""
    return "label" in columns and str(row.get(columns["label"])).strip().lower() in _FALSE
