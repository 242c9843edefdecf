"""The gate: whether a retrained checkpoint may take the place of the one it comes from.

It must foretell held-out responses of the new dialogues better, and be no worse at what was known before: perplexity
on dialogues of the base corpus, picking the right response among ten, dull replies, replies that are forbidden. Each
figure is a difference between the two on the same responses with its 95 % interval over dialogues, and it is the worse
end of the interval that must lie within the margin. Words that only the candidate knows count as unknown words, so
that perplexities compare.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from chatbot.checkpoint import Checkpoint
from chatbot.decoding.offline import decode
from chatbot.reply import DEFAULT, GREEDY, DecodingConfig
from training.evaluate import picked
from training.heldout import Context, Tokens, contexts_of, rivals
from training.judges import encoded
from training.measures import estimate, is_dull
from training.scoring import Foretold, foretell, hear

RECALL_CONTEXTS, REPLY_CONTEXTS, RIVALS = 1_000, 200, 9
FEWEST = 6  # dialogues to judge by: of fewer, all are better by luck in more than 2.5 % of cases


@dataclass(frozen=True, slots=True)
class Margins:
    """How much worse the candidate may certainly not be on the base dialogues."""

    perplexity: float = 0.03  # of the old one
    recall: float = 0.03  # of all contexts
    dull: float = 0.05  # of all replies


class HeldOut(NamedTuple):
    """Dialogues kept from training, and which utterances of each are responses to be judged by."""

    dialogues: Sequence[Sequence[Tokens]]
    judged: Sequence[np.ndarray]


class Probe(NamedTuple):
    """What is said to both checkpoints, and what must not be replied to it."""

    context: Sequence[Tokens]
    forbidden: Callable[[str], bool]


@dataclass(slots=True)
class Verdict:
    """What the gate found: `faults` say in a sentence each why the candidate is not promoted."""

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.faults

    def as_dict(self) -> dict[str, Any]:
        return {"passed": self.passed, "faults": self.faults, "figures": self.figures}


def judge(
    candidate: Checkpoint,
    live: Checkpoint,
    new: HeldOut,
    base: Sequence[Sequence[Tokens]],
    probes: Sequence[Probe] = (),
    margins: Margins = Margins(),
    seed: int = 0,
) -> Verdict:
    """Compares the candidate with the live checkpoint on held-out dialogues, the new ones and those of the base."""
    verdict = Verdict()
    whole_base = HeldOut(base, [np.arange(len(dialogue)) > 0 for dialogue in base])
    _judge_perplexity(verdict, "new", candidate, live, new, bound=0.0)
    _judge_perplexity(verdict, "base", candidate, live, whole_base, bound=float(np.log1p(margins.perplexity)))
    _judge_recall(verdict, candidate, live, contexts_of(base, RECALL_CONTEXTS, seed), margins.recall, seed)
    _judge_dullness(verdict, candidate, live, contexts_of(base, REPLY_CONTEXTS, seed), margins.dull, seed)
    _judge_probes(verdict, candidate, live, probes, seed)
    return verdict


def _judge_perplexity(
    verdict: Verdict, which: str, candidate: Checkpoint, live: Checkpoint, held: HeldOut, bound: float
) -> None:
    """`bound` is in nats a token: how much more surprised the candidate may be; at 0 it must be less."""
    known = len(live.vocabulary)
    ours, theirs = (_foretold(one, held.dialogues, known) for one in (candidate, live))
    rows = np.array([held.judged[place][turn] for place, turn in zip(ours.dialogue, ours.turn, strict=True)], bool)
    tokens, dialogues = ours.tokens[rows], ours.dialogue[rows]
    difference = estimate((ours.nats - theirs.nats)[rows], tokens, dialogues)
    if difference is None or difference.interval is None or len(np.unique(dialogues)) < FEWEST:
        verdict.faults.append(f"Too few {which} dialogues are held out to judge by; bring more.")
        return
    before, after = (float(np.exp(one.nats[rows].sum() / tokens.sum())) for one in (theirs, ours))
    low, high = np.exp(difference.interval)
    verdict.figures[f"{which}_perplexity"] = {
        "live": before, "candidate": after, "low": before * low, "high": before * high, "responses": int(rows.sum())
    }  # fmt: skip
    if difference.interval[1] >= bound:
        wanted = "certainly lower" if bound == 0 else f"certainly below {before * np.exp(bound):.1f}"
        verdict.faults.append(
            f"Perplexity on held-out {which} dialogues is {after:.1f} ({before * low:.1f}-{before * high:.1f}) after "
            f"{before:.1f}, which is not {wanted}."
        )


def _foretold(checkpoint: Checkpoint, dialogues: Sequence[Sequence[Tokens]], known: int) -> Foretold:
    ids = [encoded(checkpoint.vocabulary, dialogue) for dialogue in dialogues]
    return foretell(checkpoint.model, ids, np.random.default_rng(0), known=known, shuffled=False)


def _judge_recall(
    verdict: Verdict, candidate: Checkpoint, live: Checkpoint, contexts: Sequence[Context], margin: float, seed: int
) -> None:
    strangers = rivals(contexts, RIVALS, np.random.default_rng(seed))
    if strangers is None:
        verdict.faults.append("The base dialogues are too few to pick a response among ten; bring more.")
        return
    heard = [context.utterances for context in contexts]
    after, before = (picked(one, contexts, _states(one, heard), strangers) for one in (candidate, live))
    _compare(verdict, "recall_at_1_of_10", before, after, contexts, worse=-1, margin=margin)


def _judge_dullness(
    verdict: Verdict, candidate: Checkpoint, live: Checkpoint, contexts: Sequence[Context], margin: float, seed: int
) -> None:
    heard = [context.utterances for context in contexts]
    after, before = (
        np.array([is_dull(reply) for reply in _replies(one, heard, DEFAULT, seed)]) for one in (candidate, live)
    )
    _compare(verdict, "dull_share", before, after, contexts, worse=1, margin=margin)


def _compare(
    verdict: Verdict,
    name: str,
    before: np.ndarray,
    after: np.ndarray,
    contexts: Sequence[Context],
    worse: int,
    margin: float,
) -> None:
    """A share before and after; it is `worse` that it rises (1) or falls (-1) by more than the margin."""
    change = estimate(after.astype(float) - before, np.ones(len(after)), [context.dialogue for context in contexts])
    low, high = change.interval if change and change.interval else (-1.0, 1.0)
    old, new = float(before.mean()), float(after.mean())
    verdict.figures[name] = {"live": old, "candidate": new, "low": old + low, "high": old + high}
    if max(worse * low, worse * high) > margin:
        verdict.faults.append(
            f"{_NAMES[name]} went from {old:.1%} to {new:.1%} ({old + low:.1%} to {old + high:.1%}), which may be more "
            f"than the margin of {margin:.0%} worse."
        )


def _judge_probes(
    verdict: Verdict, candidate: Checkpoint, live: Checkpoint, probes: Sequence[Probe], seed: int
) -> None:
    """What is forbidden must not be replied, greedily or as in chat, unless the live checkpoint says the same there or
    elsewhere: that one of two says it once more is no ground for a verdict."""
    contexts = [probe.context for probe in probes]
    after, before = (
        [reply for decoding in (GREEDY, DEFAULT) for reply in _replies(one, contexts, decoding, seed)]
        for one in (candidate, live)
    )
    said, bad = (
        [reply.casefold() for reply, probe in zip(replies, [*probes, *probes], strict=True) if probe.forbidden(reply)]
        for replies in (before, after)
    )
    verdict.figures["forbidden_replies"] = {"live": len(said), "candidate": len(bad), "asked": len(after)}
    new = [reply for reply in bad if reply not in said]
    if new:
        verdict.faults.append(
            f"{len(new)} of {len(after)} replies to probes are forbidden ones that the live checkpoint does not give."
        )


def _replies(
    checkpoint: Checkpoint, contexts: Sequence[Sequence[Tokens]], decoding: DecodingConfig, seed: int
) -> list[str]:
    if not contexts:
        return []
    heard = [encoded(checkpoint.vocabulary, context) for context in contexts]
    found = decode(
        checkpoint.model,
        _states(checkpoint, contexts),
        decoding,
        seed,
        checkpoint.vocabulary.speech(),
        earlier=heard,
        own_responses=checkpoint.responses,
        judge=checkpoint.judge,
    )
    return [checkpoint.vocabulary.decode(hypotheses[0].ids) for hypotheses in found]


def _states(checkpoint: Checkpoint, contexts: Sequence[Sequence[Tokens]]) -> Tensor:
    return hear(checkpoint.model, [encoded(checkpoint.vocabulary, context) for context in contexts])


_NAMES = {"recall_at_1_of_10": "Recall@1 of 10 on the base dialogues", "dull_share": "The share of dull replies"}
