"""Two judges of replies, trained apart from what they judge: from scratch, by another seed, on every other dialogue.

The *evaluator*, an HRED, says how well a reply fits its context: it is trained above all to tell the response that was
given from those of other dialogues. The *language model* says how much a reply reads like talk at all, whatever was
said before. Neither ever chooses a reply in the product. But the default decoding was chosen by a table that holds
their figures (benchmarks/tune_decoding.py), so they are somewhat too kind to it; and they come from the same corpora as
the checkpoints they judge, and share their tastes as far as those go. See docs/evaluation.md.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from chatbot.checkpoint import Checkpoint, load_checkpoint
from chatbot.decoding.utterances import log_probabilities
from chatbot.home import home
from data.vocabulary import Vocabulary
from training.config import CorpusConfig, NetworkConfig, Recipe, StageConfig
from training.heldout import Tokens
from training.scoring import hear, relevances
from training.train import train

EVALUATOR, LANGUAGE_MODEL = "evaluator", "language-model"
TARGET_TOKENS = 3_000_000  # each
_SEED = 20_160  # of no recipe of ours


class Judges(NamedTuple):
    """Either may be missing. They have vocabularies of their own, so they are given tokens and not ids."""

    evaluator: Checkpoint | None = None
    language_model: Checkpoint | None = None


NOBODY = Judges()


def relevance(
    evaluator: Checkpoint, contexts: Sequence[Sequence[Tokens]], replies: Sequence[Sequence[Tokens]]
) -> np.ndarray:
    """How well each of K replies answers its context; to be compared with the others of that context only: (N, K)."""
    states = hear(evaluator.model, [encoded(evaluator.vocabulary, context) for context in contexts])
    return relevances(evaluator.model, states, [encoded(evaluator.vocabulary, row) for row in replies])


def fluency(language_model: Checkpoint, replies: Sequence[Tokens]) -> np.ndarray:
    """Mean log-probability of a token of each reply, its end included, as if nothing had been said before: (N,)."""
    model, ids = language_model.model, encoded(language_model.vocabulary, replies)
    nothing_said = model.initial_state(1).expand(len(ids), -1)
    return log_probabilities(model, nothing_said, ids).numpy() / (np.array([len(reply) for reply in ids]) + 1)


def encoded(vocabulary: Vocabulary, utterances: Sequence[Tokens]) -> list[list[int]]:
    """The ids of utterances that were tokenised already."""
    return [[vocabulary.id_of(token) for token in tokens] for tokens in utterances]


def default_folder() -> Path:
    """Where `chatbot judges` puts the judges and `chatbot evaluate` looks for them."""
    return home() / "judges"


def load_judges(folder: Path) -> Judges:
    """The judges kept in a folder, as far as they are there. Raises CheckpointError where one is damaged."""
    evaluator, language_model = (
        load_checkpoint(folder / name / "checkpoint") if (folder / name / "checkpoint").is_dir() else None
        for name in (EVALUATOR, LANGUAGE_MODEL)
    )
    return Judges(evaluator, language_model)


def train_judges(prepared: Path, folder: Path, console: Console, target_tokens: int = TARGET_TOKENS) -> None:
    """Trains both into `folder`; what is there is passed over, what was stopped goes on.

    Raises ValueError with a sentence where the prepared corpora do not suffice, or are not those it was begun with.
    """
    for recipe in _recipes(prepared, folder, target_tokens):
        train(recipe, console)


def _recipes(prepared: Path, folder: Path, target_tokens: int) -> tuple[Recipe, Recipe]:
    """How the evaluator and the language model are made."""
    corpus = CorpusConfig(prepared=prepared, half="second")
    stage = StageConfig(target_tokens=target_tokens, word_dropout=0.15, context_dropout=0.1, relevance_weight=1.0)
    sizes = NetworkConfig(embedding_size=200, encoder_size=256, state_size=384, decoder_size=384)
    evaluator = Recipe(run=folder / EVALUATOR, corpus=corpus, train=stage, model=sizes, seed=_SEED)
    # It judges replies without their context, so that is how it learns most of them.
    alone = replace(stage, relevance_weight=0.0, context_dropout=0.8, openings=True)
    flat = replace(sizes, kind="language-model")
    return evaluator, replace(evaluator, run=folder / LANGUAGE_MODEL, train=alone, model=flat)
