"""An invented ferry line, whose support says sixteen things again and again: `python -m tests.ferry` writes its log.

`ferry_samples/answers.json` holds each answer with the wordings that ask for it, and wordings that no log holds.
"""

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.shop import Question

FILE = Path(__file__).parent / "ferry_samples" / "answers.json"
DIALOGUES = 300
PHONE, MAIL, STREET = "020 7946 0958", "help@ferry.example", "14 Harbour Street"  # the line's own
GREETINGS = (("Hello!", "Hello! How can I help you?"), ("Good morning.", "Good morning! What would you like to know?"))
THANKS = (("Thank you!", "You're welcome, have a good trip!"), ("Thanks, bye.", "Goodbye, and see you on board!"))


@cache
def answers() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def questions() -> list[Question]:
    """Wordings that the log does not hold, and what is right to answer."""
    return [Question(text, tuple(one["right"])) for one in answers() for text in one["unseen"]]


def logs() -> list[dict[str, Any]]:
    """Dialogues in which three or four answers are asked for, some with a greeting or thanks."""
    random = Random(0)
    return [_dialogue(f"ferry/{number}", random) for number in range(DIALOGUES)]


def _dialogue(id: str, random: Random) -> dict[str, Any]:
    asked = random.sample(answers(), random.choice((3, 4)))
    said = [(random.choice(one["asked"]), one["answer"]) for one in asked]
    said = random.choices(GREETINGS, k=random.random() < 0.2) + said + random.choices(THANKS, k=random.random() < 0.2)
    messages = [
        {"role": role, "content": text} for pair in said for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return {"id": id, "source": "ferry", "messages": messages}


def main() -> None:
    for dialogue in logs():
        print(json.dumps(dialogue, ensure_ascii=False))


if __name__ == "__main__":
    main()
