"""Prompts and completions, as language models are taught: Alpaca's instructions, preferences, questions and answers."""

from itertools import chain
from typing import Any

import regex

from data.formats.columns import columns_of, is_wrong
from data.formats.dialogue import WRONG, Losses, Message, in_talk, role_of
from data.formats.records import messages_of

_LABEL = regex.compile(r"(?:^\s*|\n\s*|\s*(?=###))(?:#{2,3}\s*)?(\p{L}{2,12}):")
_END = regex.compile(
    r"(?<!\s)\s*(?:->|=>|(?<!#)#{2,}|\bEND)\s*$"
)  # of a prompt or a completion, as older files mark it


def exchange_of(record: dict[str, Any], losses: Losses) -> list[Message] | None:
    """The messages of a record with a prompt and its completion; None if it is no such record, [] if the completion
    is marked as wrong. Of preferences the answer that was chosen counts; what was answered before is context.

    Raises one of UNREADABLE where prompt or completion are of no known shape.
    """
    if (parts := _parts(record)) is None:
        return None
    if is_wrong(record, columns_of(tuple(record))):
        losses.leave_out(WRONG)
        return []
    if "rejected" in record or "non_preferred_output" in record:
        losses.leave_out("answer that was rejected")
    *asked, completion = parts
    answers = _turns(completion, "assistant", losses)
    if not asked:
        return in_talk(answers, losses)
    roles = ("assistant", "user")[-len(asked) :]
    said = [] if len(answers) > 1 else [_turns(*part, losses) for part in zip(asked, roles, strict=True)]
    before = list(chain.from_iterable(said))
    *context, last = in_talk([*before, *answers], losses)
    return [*(one._replace(weight=0.0) if one.role == "assistant" else one for one in context), last]


def _parts(record: dict[str, Any]) -> list[Any] | None:
    """What was said before and then asked, and at the end what was answered."""
    if "preferred_output" in record:
        return [record["input"], record["preferred_output"]]
    columns = columns_of(tuple(record))
    if "chosen" in record:
        return [record.get(columns.get("question", "prompt")), record["chosen"]]
    if "question" not in columns:
        return [record["text"]] if _is_transcript(record.get("text")) else None
    question = record[columns["question"]]
    if columns["question"] == "instruction":
        question = "\n".join(filter(None, (question, record.get("input") or record.get("context"))))
    return [list(chain.from_iterable(record.get("history") or ())), question, record[columns["answer"]]]


def _turns(content: Any, role: str, losses: Losses) -> list[Message]:
    """The messages of a prompt or a completion: one text, a text with the names of roles, or a list of messages."""
    match content:
        case None:
            return []
        case str() if _is_transcript(content):
            _, *labelled = _LABEL.split(content)
            names, texts = labelled[::2], labelled[1::2]
            return [Message(name, text, role_of(name)) for name, text in zip(names, texts, strict=True) if text.strip()]
        case str():
            return [Message(role, _END.sub("", content), role)]
        case dict():
            return _turns(content.get("messages", [content]), role, losses)
    messages = list(messages_of(content, losses))
    roles = [role, "assistant" if role == "user" else "user"]
    alternating = [(roles[place % 2], message) for place, message in enumerate(reversed(messages))][::-1]
    return [message if message.role else message._replace(speaker=turn, role=turn) for turn, message in alternating]


def _is_transcript(content: Any) -> bool:
    """Whether a text begins with the name of a role, as in "Human: Hi!\n\nAssistant: Hello."."""
    if not isinstance(content, str) or not (first := _LABEL.match(content)):
        return False
    return bool(role_of(first[1])) and len(set(map(role_of, _LABEL.findall(content)))) > 1
