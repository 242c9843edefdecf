"""Sensibleness and specificity: what readers think of replies, counted by where the replies come from.

SSA is the mean of the two shares (Adiwardana et al., "Towards a Human-like Open-Domain Chatbot", 2020).
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from chatbot.estimates import Estimate, estimate


class Mark(NamedTuple):
    """What a reader thinks of a reply. What is specific is sensible too; one reply to a context is `best` at most."""

    sensible: bool
    specific: bool
    best: bool = False


class Marked(NamedTuple):
    """A mark, the system that gave the reply, and the context that the reply was given to."""

    system: str
    context: Hashable
    mark: Mark


class Score(NamedTuple):
    """The shares of a system's replies, 0 to 1, with 95 % intervals over contexts; `marks` counts all readers'."""

    system: str
    contexts: int
    marks: int
    sensible: Estimate
    specific: Estimate
    ssa: Estimate


def scores(marked: Iterable[Marked]) -> list[Score]:
    """A score for each system that has a mark, in the order in which the systems come first."""
    by_system: defaultdict[str, list[Marked]] = defaultdict(list)
    for one in marked:
        by_system[one.system].append(one)
    return [_score(system, theirs) for system, theirs in by_system.items()]


def _score(system: str, marked: Sequence[Marked]) -> Score:
    numbers = {context: number for number, context in enumerate(dict.fromkeys(one.context for one in marked))}
    contexts = [numbers[one.context] for one in marked]

    def share(counted: list[float]) -> Estimate:
        found = estimate(counted, [1.0] * len(counted), contexts)
        assert found  # for there is a mark
        return found

    sensible = [float(one.mark.sensible) for one in marked]
    specific = [float(one.mark.specific) for one in marked]
    both = [(one + other) / 2 for one, other in zip(sensible, specific, strict=True)]
    return Score(system, len(numbers), len(marked), share(sensible), share(specific), share(both))


def judgement(
    id: str, turn: int, reader: str, context: Sequence[str], candidates: Iterable[tuple[str, str, Mark]]
) -> dict[str, Any]:
    """What a reader marked at one turn, as it stands in a line of judgements; a candidate is its text, where it comes
    from, and its mark."""
    marked = [
        {"text": text, "from": source} | {name: int(value) for name, value in mark._asdict().items()}
        for text, source, mark in candidates
    ]
    return {"id": id, "turn": turn, "reader": reader, "context": list(context), "candidates": marked}
