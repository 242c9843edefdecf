"""An invented shop: dialogues that teach it, questions that no word-by-word look-up answers.

In `shop_samples`, `logs.jsonl` holds dialogues as another system exported them, `talks.jsonl` what visitors say and
what the bot should have replied, `questions.jsonl` other wordings of what both teach.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "shop_samples"


class Question(NamedTuple):
    text: str
    right: tuple[str, ...]  # lower-case words, each of which must be in the answer


def logs() -> list[dict[str, Any]]:
    return _records("logs")


def talks() -> list[dict[str, Any]]:
    return _records("talks")


def questions() -> list[Question]:
    return [Question(record["question"], tuple(record["right"])) for record in _records("questions")]


def exchanges() -> list[tuple[str, str]]:
    """What a visitor said and what was answered, in the order of the logs and then of the talks."""
    return exchanges_of([*logs(), *talks()])


def exchanges_of(dialogues: list[dict[str, Any]]) -> list[tuple[str, str]]:
    texts = [[message["content"] for message in dialogue["messages"]] for dialogue in dialogues]
    return [pair for dialogue in texts for pair in zip(dialogue[::2], dialogue[1::2], strict=False)]


def is_right(answer: str, question: Question) -> bool:
    """Whether all that must be in the answer is, as whole words: 9:30 is not in 19:30."""
    return all(re.search(rf"(?<!\w){re.escape(words)}(?!\w)", answer.lower()) for words in question.right)


def nearest_neighbour(question: str, taught: list[tuple[str, str]]) -> str:
    """The answer to the taught question that shares most words with this one (Jaccard; of several, the first)."""
    asked = _words(question)
    return max(taught, key=lambda pair: _overlap(asked, _words(pair[0])))[1]


def _overlap(some: set[str], others: set[str]) -> float:
    return len(some & others) / len(some | others)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w:']+", text.lower()))


def _records(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
