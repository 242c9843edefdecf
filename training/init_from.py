"""A bot of one's own from nothing: how large a network some dialogues are worth, and what may be expected of it."""

import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from chatbot.model import HRED, ModelConfig
from chatbot.processor import autocast, fastest_precision
from data.batches import batches
from data.store import TokenStore
from training.config import NetworkConfig, Recipe
from training.objective import Objective
from training.train import vocabulary_of


@dataclass(frozen=True, slots=True)
class Size:
    """A network for corpora of at most so many target tokens, and how it learns from them."""

    most_targets: float
    network: NetworkConfig
    epochs: int
    batch_size: int
    learning_rate: float
    word_dropout: float
    expect: str


SIZES = (
    Size(
        100_000, NetworkConfig(embedding_size=96, encoder_size=64, state_size=128, decoder_size=128),
        60, 8, 5e-3, 0.0,
        "it will know these dialogues nearly by heart and little else: right where it is asked what was asked in them, "
        "beside the point elsewhere. Ten times as much text would make it talk",
    ),
    Size(
        1_000_000, NetworkConfig(embedding_size=200, encoder_size=160, state_size=256, decoder_size=256),
        12, 16, 2e-3, 0.1,
        "short replies that fit what the dialogues are about, with slips of sense, and of grammar in longer ones",
    ),
    Size(
        5_000_000, NetworkConfig(embedding_size=300, encoder_size=256, state_size=384, decoder_size=384),
        5, 32, 1e-3, 0.1,
        "fluent small talk on what the dialogues are about; it will know no facts but those said often",
    ),
    Size(
        float("inf"), NetworkConfig(),
        3, 64, 1e-3, 0.15,
        "talk like the shipped model's, in the manner of these dialogues; it will know no facts but those said often",
    ),
)  # fmt: skip
MOST_TARGETS = 30_000_000  # learned from in all; more would take more than some hours
_TIMED_STEPS = 4
_PAIRS_A_DIALOGUE = 8  # about as many words


@dataclass(frozen=True, slots=True)
class Plan:
    """What is learned from a prepared folder, in which stages, by which network."""

    prepared: Path
    size: Size
    stages: dict[str, tuple[str, int]]  # stage -> corpus, target tokens to learn from

    @property
    def target_tokens(self) -> int:
        return sum(tokens for _, tokens in self.stages.values())


def plan_for(prepared: Path) -> Plan:
    """Trains on dialogues, after pairs where there are pairs as well; on pairs alone where there are no dialogues.

    Raises ValueError where neither suffices.
    """
    targets = {corpus: _targets(prepared / corpus) for corpus in ("pairs", "dialogues")}
    if not any(targets.values()):
        raise ValueError(
            f"{prepared} holds too few dialogues: at least one to learn from and one to judge by; bring more."
        )
    size = next(size for size in SIZES if sum(targets.values()) <= size.most_targets)
    there = [corpus for corpus in ("pairs", "dialogues") if targets[corpus]]
    stages = dict(zip(("pretrain", "train")[-len(there) :], there, strict=True))
    room = MOST_TARGETS / (size.epochs * sum(targets.values()))
    goes = size.epochs * min(1.0, room)
    return Plan(prepared, size, {stage: (corpus, int(targets[corpus] * goes)) for stage, corpus in stages.items()})


def _targets(corpus: Path) -> int:
    """Target tokens of one pass; 0 where there is nothing to learn from or nothing to be judged by."""
    train, validation = (TokenStore.open(corpus / split) for split in ("train", "validation"))
    return train.target_tokens if validation.responses else 0


def seconds_of(plan: Plan) -> float:
    """How long the stages will take on this machine, from a few steps of each."""
    return sum(tokens / _speed(plan, corpus) for corpus, tokens in plan.stages.values())


def _speed(plan: Plan, corpus: str) -> float:
    """Target tokens a second of a training step."""
    torch.manual_seed(0)
    model = HRED(ModelConfig(len(vocabulary_of(plan.prepared)), **asdict(plan.size.network)))
    store, order = TokenStore.open(plan.prepared / corpus / "train"), np.random.default_rng(0)
    learned, started = 0, 0.0
    for step, batch in enumerate(islice(batches(store, _batch_size(plan.size, corpus), 12, order), _TIMED_STEPS)):
        with autocast(fastest_precision()):
            Objective(relevance_weight=0.2)(model, batch).total.backward()
        if step == 0:
            started = time.monotonic()  # the first pays for what is set up once
        else:
            learned += len(batch.targets)
    return max(learned, 1) / max(time.monotonic() - started, 1e-6)


def recipe_text(plan: Plan, run: Path, sources: list[str], clean: bool) -> str:
    """The recipe as TOML, for `chatbot train`, and for whoever wants to change it."""
    lines = [
        "# Made by `chatbot init-from` for the size of these corpora; change it and go on with `chatbot train`.",
        "",
        f"run = {_quoted(run)}",
        "",
        "[corpus]",
        f"prepared = {_quoted(plan.prepared)}",
        f"sources = [{', '.join(map(_quoted, sources))}]",
        f"clean = {str(clean).lower()}",
        "",
        "[model]",
        *(f"{name}_size = {asdict(plan.size.network)[f'{name}_size']}" for name in _PARTS),
        "",
        "[word2vec]",
    ]
    for stage, (corpus, tokens) in plan.stages.items():
        lines += ["", f"[{stage}]", *_stage(plan.size, corpus, tokens)]
    return "\n".join(lines) + "\n"


_PARTS = ("embedding", "encoder", "state", "decoder")


def _stage(size: Size, corpus: str, tokens: int) -> list[str]:
    is_recited = size is SIZES[0]  # what a handful of held-out dialogues says of it is chance
    return [
        f'corpus = "{corpus}"',
        f"target_tokens = {tokens}",
        f"batch_size = {_batch_size(size, corpus)}",
        f"learning_rate = {size.learning_rate}",
        f"final_learning_rate = {size.learning_rate / 20}",
        f"word_dropout = {size.word_dropout}",
        "context_dropout = 0.1",
        "relevance_weight = 0.2",
        f"validate_every = {max(1, tokens // 12)}",
        *(['keep = "last"', "patience = 100"] if is_recited else []),
    ]


def _batch_size(size: Size, corpus: str) -> int:
    return size.batch_size * (_PAIRS_A_DIALOGUE if corpus == "pairs" else 1)


def _quoted(text: object) -> str:
    """A TOML string that says exactly this."""
    escaped = "".join(
        f"\\u{ord(character):04x}" if ord(character) < 32 or character in '"\\\x7f' else character
        for character in str(text)
    )
    return f'"{escaped}"'


def announcement(plan: Plan, recipe: Recipe) -> str:
    """What is about to happen, how long it takes and what may be expected of it."""
    seconds = seconds_of(plan)
    takes = f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"
    network, passes = recipe.model, plan.size.epochs
    return (
        f"{plan.target_tokens // passes:,} words to learn from. A network with a state of {network.state_size} goes "
        f"through them {passes} times, in about {takes} on this machine if it has nothing else to do, besides word "
        f"vectors. What to expect: {plan.size.expect}."
    )
