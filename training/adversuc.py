"""Adversarial success: how often a model is taken for a person by an evaluator made for that (Li et al., EMNLP 2017,
section 4).

The evaluator is a discriminator trained from scratch, by a seed of its own, on replies to one part of a corpus and on
what people said there; another part stops its training and a third, the test split, is judged. AdverSuc is the share of
cases it gets wrong: 0.5 where it cannot tell the model from people, 0 where it always can.

That says nothing unless the evaluator works, so it is first put where the right answer is known (section 4.2): told to
tell people from people and the machine from the machine, it must fail half of the time, and people from random
utterances never. How far off it is on average is its evaluator reliability error (ERE). And a model that speaks like
people but past its context would succeed as well, so the machine is told from random utterances too (section 4.3).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from rich.table import Table
from torch.nn import functional as F

from chatbot.checkpoint import Checkpoint
from chatbot.decoding.offline import decode
from chatbot.reply import DEFAULT, GREEDY, DecodingConfig
from data.batches import make_batch
from data.store import TokenStore
from data.vocabulary import UNK, Vocabulary
from training.discriminator import HUMAN, MACHINE, Discriminator
from training.heldout import contexts_of, demand_shared_words
from training.judges import encoded
from training.measures import distinct, estimate, is_dull, unique_share
from training.scoring import Track, hear, straight
from training.train import vocabulary_of

Decoding = Literal["sample", "greedy", "beam", "default"]
DECODINGS: dict[Decoding, DecodingConfig] = {
    "sample": DecodingConfig(no_repeat_ngram=0),
    "greedy": GREEDY,
    "beam": DecodingConfig(method="beam"),
    "default": replace(DEFAULT, retrieved=0),  # what people said would be judged as the machine's
}
assert tuple(DECODINGS) == get_args(Decoding)

EVALUATOR_SEED = 2_017  # of no recipe of ours
_HEARD = 3  # utterances before a response that the evaluator is given
_SIZE = 128
_EPOCHS, _PATIENCE = 15, 3  # at the most; and without a better one before the end
_BATCH = 128
_LEARNING_RATE = 2e-3
_CHUNK = 256  # replies between two moves of the progress bar


class Responses(NamedTuple):
    """N contexts of one split, in ids of the corpus, and what is said to each; `dialogues` names where each is from."""

    contexts: list[list[np.ndarray]]
    human: list[np.ndarray]
    machine: list[np.ndarray]
    random: list[np.ndarray]  # what people said in other contexts
    dialogues: list[int]


class Cases(NamedTuple):
    """Dialogues whose last utterance is to be judged, and whether it counts as a person's."""

    dialogues: list[list[np.ndarray]]
    labels: np.ndarray  # (N,) of HUMAN and MACHINE


class Situation(NamedTuple):
    """Something to tell apart, and the AdverSuc of a perfect evaluator where that is known."""

    cases: Callable[[Responses], Cases]
    expected: float | None


def _answered(of: Responses, by: str) -> list[list[np.ndarray]]:
    """Every context with the response of one of the three."""
    return [[*context, response] for context, response in zip(of.contexts, getattr(of, by), strict=True)]


def _versus(positive: str, negative: str) -> Callable[[Responses], Cases]:
    """Both responses to every context."""

    def cases(of: Responses) -> Cases:
        labels = np.repeat([HUMAN, MACHINE], len(of.contexts))
        return Cases(_answered(of, positive) + _answered(of, negative), labels)

    return cases


def _alike(same: str) -> Callable[[Responses], Cases]:
    """One response to every context; what it counts as is drawn by lot."""

    def cases(of: Responses) -> Cases:
        labels = np.random.default_rng(0).permutation(np.arange(len(of.contexts)) % 2)
        return Cases(_answered(of, same), labels)

    return cases


def _shuffled(of: Responses) -> Cases:
    """Human dialogues, and as many of utterances that never met."""
    human = _answered(of, "human")
    utterances = [utterance for dialogue in human for utterance in dialogue]
    order = iter(np.random.default_rng(0).permutation(len(utterances)).tolist())
    strange = [[utterances[next(order)] for _ in dialogue] for dialogue in human]
    return Cases(human + strange, np.repeat([HUMAN, MACHINE], len(human)))


MAIN, MACHINE_OR_RANDOM = "human or machine", "machine or random response"
SITUATIONS = {
    MAIN: Situation(_versus("human", "machine"), None),
    MACHINE_OR_RANDOM: Situation(_versus("machine", "random"), None),
    "human or human": Situation(_alike("human"), 0.5),
    "machine or machine": Situation(_alike("machine"), 0.5),
    "human or random response": Situation(_versus("human", "random"), 0.0),
    "human or random dialogue": Situation(_shuffled, 0.0),
}


def adversuc(
    checkpoint: Checkpoint,
    prepared: Path,
    corpus: str,
    decoding: Decoding = "sample",
    count: int = 10_000,
    seed: int = EVALUATOR_SEED,
    track: Track[Any] = straight,
) -> dict[str, Any]:
    """Measures a checkpoint on a prepared folder's `corpus` (pairs or dialogues); the JSON of `chatbot adversuc`.

    The evaluator learns from up to `count` contexts and is judged by a fifth as many. Raises ValueError with a sentence
    where the folder is no prepared one, a split is too small, or most of its words are unknown to the checkpoint.
    """
    vocabulary = vocabulary_of(prepared)
    shares = {"train": count, "validation": count // 5, "test": count // 5}
    stores = {split: TokenStore.open(prepared / corpus / split) for split in shares}
    splits = []
    for split, many in shares.items():
        splits.append(_responses(checkpoint, vocabulary, stores[split], DECODINGS[decoding], many, seed, track))
        if len(splits[-1].contexts) < 10:
            raise ValueError(f"{prepared / corpus / split} holds too few responses to be judged; prepare more.")
    found = {
        name: _measure(situation, splits, len(vocabulary), seed)
        for name, situation in track(list(SITUATIONS.items()), "Training evaluators")
    }
    known = [(found[name]["adversuc"], one.expected) for name, one in SITUATIONS.items() if one.expected is not None]
    return {
        "checkpoint": checkpoint.id,
        "corpus": f"{prepared} ({corpus})",
        "decoding": {"name": decoding, **asdict(DECODINGS[decoding])},
        "seed": seed,
        "contexts": dict(zip(shares, (len(split.contexts) for split in splits), strict=True)),
        "adversuc": found[MAIN]["adversuc"],
        "interval": found[MAIN]["interval"],
        "machine_vs_random_accuracy": 1 - found[MACHINE_OR_RANDOM]["adversuc"],
        "evaluator_reliability_error": sum(abs(value - expected) for value, expected in known) / len(known),
        "situations": found,
        "replies": {who: _liveliness(getattr(splits[-1], who), vocabulary) for who in ("machine", "human")},
    }


def table_of(report: dict[str, Any]) -> Table:
    """AdverSuc in every situation, beside what a perfect evaluator would give."""
    table = Table("to be told apart", "AdverSuc", "95 % interval", "of a perfect evaluator")
    for name, found in report["situations"].items():
        low, high = found["interval"]
        expected = "" if found["expected"] is None else f"{found['expected']:.2f}"
        table.add_row(name, f"{found['adversuc']:.3f}", f"{low:.3f} - {high:.3f}", expected)
    spoken = "; ".join(
        f"{who}: {figures['dull_share']:.1%} dull, {figures['unique_share']:.1%} unique, "
        f"distinct-2 {figures['distinct_2']:.3f}, {figures['mean_length']:.1f} tokens"
        for who, figures in report["replies"].items()
    )
    table.caption = f"evaluator reliability error {report['evaluator_reliability_error']:.3f}\n{spoken}"
    return table


def _liveliness(replies: Sequence[np.ndarray], vocabulary: Vocabulary) -> dict[str, float]:
    texts = [vocabulary.decode(ids.tolist()) for ids in replies]
    return {
        "dull_share": sum(map(is_dull, texts)) / len(texts),
        "unique_share": unique_share(texts),
        "distinct_2": distinct([ids.tolist() for ids in replies], 2),
        "mean_length": sum(map(len, replies)) / len(replies),
    }


def _responses(
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    store: TokenStore,
    decoding: DecodingConfig,
    count: int,
    seed: int,
    track: Track[Any],
) -> Responses:
    """Contexts with what people, the model and chance reply.

    Left out are responses with words that nobody can say, or shorter or longer than the model's may be: they would tell
    it apart.
    """
    drawn = [
        context
        for context in contexts_of(cast(Sequence[list[np.ndarray]], store), count, seed)
        if decoding.min_tokens <= len(context.response) <= decoding.max_tokens and UNK not in context.response
    ]
    contexts = [[[vocabulary.tokens[place] for place in ids] for ids in context.utterances] for context in drawn]
    demand_shared_words(checkpoint, chain.from_iterable(contexts))
    heard = [encoded(checkpoint.vocabulary, context) for context in contexts]
    said: list[np.ndarray] = []
    speech = checkpoint.vocabulary.speech()
    for start in track(range(0, len(drawn), _CHUNK), "Writing replies"):
        part = heard[start : start + _CHUNK]
        found = decode(checkpoint.model, hear(checkpoint.model, part), decoding, seed + start, speech, earlier=part)
        tokens = [[checkpoint.vocabulary.tokens[place] for place in hypotheses[0].ids] for hypotheses in found]
        said += [np.array(ids, dtype=np.int64) for ids in encoded(vocabulary, tokens)]
    human = [context.response for context in drawn]
    shift = max(1, len(human) // 2)
    return Responses(
        contexts=[context.utterances[-_HEARD:] for context in drawn],
        human=human,
        machine=said,
        random=human[shift:] + human[:shift],  # far away, so from another dialogue
        dialogues=[context.dialogue for context in drawn],
    )


def _measure(situation: Situation, splits: Sequence[Responses], words: int, seed: int) -> dict[str, Any]:
    train, validation, test = (situation.cases(split) for split in splits)
    evaluator = train_evaluator(train, validation, words, seed)
    wrong = verdicts(evaluator, test) != test.labels
    origin = np.resize(splits[-1].dialogues, len(wrong))  # the cases of a context follow in rounds
    figure = estimate(wrong.astype(float), np.ones(len(wrong)), origin)
    assert figure is not None
    return {"adversuc": figure.value, "interval": figure.interval or (0.0, 1.0), "expected": situation.expected}


def train_evaluator(train: Cases, validation: Cases, words: int, seed: int) -> Discriminator:
    """An evaluator from scratch, as it was when it judged the validation cases best."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    evaluator = Discriminator(words, _SIZE)
    optimiser = torch.optim.Adam(evaluator.parameters(), lr=_LEARNING_RATE, fused=True)
    best, best_epoch, kept = -1.0, 0, evaluator.state_dict()
    for epoch in range(_EPOCHS):
        order = random.permutation(len(train.labels))
        for start in range(0, len(order), _BATCH):
            _learn(evaluator.train(), optimiser, train, order[start : start + _BATCH])
        accuracy = float((verdicts(evaluator, validation) == validation.labels).mean())
        if accuracy > best:
            best, best_epoch = accuracy, epoch
            kept = {name: value.clone() for name, value in evaluator.state_dict().items()}
        elif epoch - best_epoch == _PATIENCE:
            break
    evaluator.load_state_dict(kept)
    return evaluator


def _learn(evaluator: Discriminator, optimiser: torch.optim.Optimizer, cases: Cases, chosen: np.ndarray) -> None:
    rows = _longest_first(cases, chosen)
    logits = evaluator.judge_last(make_batch([cases.dialogues[row] for row in rows]))
    F.cross_entropy(logits, torch.from_numpy(cases.labels[rows])).backward()
    optimiser.step()
    optimiser.zero_grad()


@torch.no_grad()
def verdicts(evaluator: Discriminator, cases: Cases) -> np.ndarray:
    """Whether the evaluator takes each last utterance for HUMAN or MACHINE: (N,)."""
    evaluator.eval()
    found = np.empty_like(cases.labels)
    for start in range(0, len(found), _BATCH):
        rows = _longest_first(cases, np.arange(start, min(start + _BATCH, len(found))))
        found[rows] = evaluator.judge_last(make_batch([cases.dialogues[row] for row in rows])).argmax(dim=1).numpy()
    return found


def _longest_first(cases: Cases, chosen: np.ndarray) -> np.ndarray:
    """The order that a batch puts its dialogues in."""
    return np.array(sorted(chosen.tolist(), key=lambda row: -len(cases.dialogues[row])))
