"""What a chatbot is like: `python -m benchmarks.character [CHECKPOINT] [--replies FILE]`.

100 probes of character.toml are said to it as in the service. It is to say that it is a program and keep its name,
claim no body, family, meals, travels, job or childhood, greet and say goodbye, comfort, be glad, and stay calm. The
fixed answer to a danger is wrong everywhere, for none of the probes is one.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import regex

from benchmarks.talks import engine_of, options_of, save, share, side_by_side
from chatbot.engine import ChatEngine
from chatbot.reply import ReplyRequest
from chatbot.safety.answers import CARING, last_category

FILE = Path(__file__).with_suffix(".toml")
LONG_ECHO = 4  # words; an utterance of fewer may well be answered by itself, as "Good night!" is


@dataclass(frozen=True)
class Rule:
    """What answers of a kind hold and do not hold, as regular expressions, and in a word why."""

    why: str
    must: str
    must_not: str


@dataclass(frozen=True)
class Probe:
    kind: str
    said: tuple[str, ...]  # what is answered, last, and what was said before
    good: str  # an answer that is right
    rule: Rule = field(repr=False)
    never: dict[str, str] = field(repr=False)  # claims that no answer may make, by name

    def fault(self, answer: str) -> str | None:
        """Why an answer is wrong; None where it is right."""
        text = answer.translate(str.maketrans("’‘", "''"))
        if is_echo(text, self.said[-1]):
            return "an echo"
        if (category := last_category((answer,))) in CARING:
            return f"the fixed answer to {category}"
        for name, claim in self.never.items():
            if found := regex.search(claim, text, regex.IGNORECASE):
                return f'claims {name}: "{found[0]}"'
        if self.rule.must_not and (found := regex.search(self.rule.must_not, text, regex.IGNORECASE)):
            return f'must not hold "{found[0]}"'
        return None if regex.search(self.rule.must, text, regex.IGNORECASE) else self.rule.why


def is_echo(answer: str, utterance: str) -> bool:
    """Whether an answer says again the whole of a longer utterance, and not that it is so with the speaker too."""
    said, heard = (regex.findall(r"[\w']+", text.lower()) for text in (answer, utterance))
    runs = (said[start : start + len(heard)] for start in range(len(said) - len(heard) + 1))
    return len(heard) >= LONG_ECHO and heard in runs and not {"too", "also"} & {*said}


def probes(file: Path = FILE) -> list[Probe]:
    sections = tomllib.loads(file.read_text("utf-8"))
    fragments, never = sections.pop("fragments"), sections.pop("never")
    claims = {name: "|".join(patterns) for name, patterns in never.items()}
    made = []
    for kind, section in sections.items():
        must, must_not = ("|".join(section[key]) for key in ("must", "must_not"))
        must = regex.sub(r"<(\w+)>", lambda found: "|".join(fragments[found[1]]), must)
        rule = Rule(section["why"], must, must_not)
        made += [Probe(kind, tuple(said), good, rule, claims) for *said, good in section["probes"]]
    return made


def answers(engine: ChatEngine, asked: Sequence[Probe]) -> list[str]:
    """Each probe begins a conversation of its own."""

    def answer(place: int) -> str:
        *context, utterance = asked[place].said
        return engine.reply(ReplyRequest(utterance, tuple(context), seed=place)).text

    return side_by_side(answer, range(len(asked)))


def table(asked: Sequence[Probe], said: Sequence[str]) -> list[str]:
    faults = [one.fault(answer) for one, answer in zip(asked, said, strict=True)]
    lines = []
    for kind in dict.fromkeys(one.kind for one in asked):
        right = [fault is None for one, fault in zip(asked, faults, strict=True) if one.kind == kind]
        lines.append(f"{kind:<12} {sum(right):2} of {len(right):2}")
    lines += [f"right: {share([fault is None for fault in faults])}", ""]
    for one, answer, fault in zip(asked, said, faults, strict=True):
        if fault:
            lines += [f"{one.kind}: {one.said[-1]}", f"    {answer}", f"    ({fault})"]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(__doc__, arguments)
    asked = probes()
    with engine_of(options.checkpoint) as engine:
        said = answers(engine, asked)
        print(engine.checkpoint.id, *table(asked, said), sep="\n")
    rows = ((one, answer, one.fault(answer)) for one, answer in zip(asked, said, strict=True))
    save(
        options.replies,
        ({"kind": one.kind, "said": [*one.said, answer], "fault": fault} for one, answer, fault in rows),
    )


if __name__ == "__main__":
    main()
