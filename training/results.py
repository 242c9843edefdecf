"""The paper's table on corpora anyone can get: every row trained at one budget of target tokens, scored, kept as JSON.

A row in progress goes on from its run's folder, a finished one is passed over. The rows stand in the order in which
their comparisons are wanted. What they show is written by training.results_page.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import regex
import torch
from pydantic import TypeAdapter
from rich.console import Console

from chatbot.checkpoint import load_checkpoint
from chatbot.model import HRED, Kind
from chatbot.recurrent import CellName
from data.batches import make_batch
from data.preparation import SPLITS
from data.store import TokenStore
from training.config import CorpusConfig, NetworkConfig, Recipe, StageConfig, Word2VecConfig
from training.measures import Estimate, estimate
from training.memory import NETWORKS, STEPS, measure_memory
from training.ngram import Smoothing, Text, fit_best
from training.scoring import response_places, response_scores
from training.train import train, vocabulary_of
from training.windows import SOURCES, VOCABULARY_SIZE, WINDOW, add_subtitles, prepare_windows

BUDGET = 3_000_000  # target tokens of a row in all
PAIRS_SHARE = 1 / 3  # of the budget, spent on subtitle pairs by the rows that begin with them
FROZEN_SHARE = 1 / 6  # of the budget, for which word2vec's embeddings stay as they are
ORDERS = (2, 3, 4, 5)  # of n-grams, to choose from by validation
RUNS = (("dailydialog", 0), ("startrek", 0), ("dailydialog", 1))  # corpora and seeds, in the order they are wanted
SIZES = {"embedding_size": 300, "encoder_size": 300, "state_size": 400, "decoder_size": 400}
LEARNING_RATE = 2e-3  # after 600,000 tokens of DailyDialog HRED is at 60 on validation, from 1e-3 at 76
_BATCH = 64  # windows scored at once
_LIST = regex.compile(r"\[[^\[\]{}]*\]")  # of numbers, in JSON


@dataclass(frozen=True, slots=True)
class Row:
    """One way to foretell what is said next; all networks have the same sizes. `paper` is its perplexity there."""

    title: str
    paper: float | None = None
    smoothing: Smoothing | None = None  # of n-grams, which have nothing of the rest
    kind: Kind = "hred"
    cell: CellName = "gru"
    bidirectional: bool = False
    word2vec: bool = False
    subtitles: bool = False
    reinjection: float = 0.0


ROWS = {
    "hred": Row("HRED (GRU, teacher forcing)", paper=36.59),
    "rnn": Row("RNN", paper=35.63, kind="language-model"),
    "hred-word2vec": Row("HRED + word2vec", paper=33.95, word2vec=True),
    "hred-subtitles": Row("HRED + subtitles", paper=27.14, subtitles=True),
    "rnn-subtitles": Row("RNN + subtitles", paper=27.09, kind="language-model", subtitles=True),
    "kneser-ney": Row("n-gram, modified Kneser-Ney", paper=60.11, smoothing="kneser-ney"),
    "witten-bell": Row("n-gram, Witten-Bell", paper=53.30, smoothing="witten-bell"),
    "seq2seq": Row("seq2seq", kind="seq2seq"),
    "hred-bi-subtitles": Row("HRED-Bi + subtitles", paper=26.81, bidirectional=True, subtitles=True),
    "lstm": Row("HRED of LSTM cells", cell="lstm"),
    "elman": Row("HRED of Elman cells", cell="elman"),
    "reinjection": Row("HRED with reinjection", reinjection=0.25),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Where corpora are found, where runs are kept, and what a row may spend."""

    corpora: Path
    run: Path
    target_tokens: int = BUDGET
    memory_steps: int = STEPS


class Scores(NamedTuple):
    """Of the utterances of W windows, (W, 3) each: tokens with their ends, - log p in nats, tokens guessed wrong (None
    of n-grams, as in the paper)."""

    tokens: np.ndarray
    nats: np.ndarray
    errors: np.ndarray | None

    def where(self, chosen: np.ndarray) -> "Scores":
        """The windows that a mask (W,) chooses."""
        errors = None if self.errors is None else self.errors[chosen]
        return Scores(self.tokens[chosen], self.nats[chosen], errors)


Measured = dict[str, Any]  # what becomes the JSON of a row


def jobs() -> Mapping[str, Callable[[Setting, Console], Measured]]:
    """Everything there is to measure, by name, in order. n-grams draw no lots, so one seed is enough for them."""
    of_rows = [
        {
            f"{corpus}-{seed}-{row}": partial(measure_row, corpus, seed, row)
            for row in ROWS
            if seed == 0 or ROWS[row].smoothing is None
        }
        for corpus, seed in RUNS
    ]
    of_memory = {f"memory-{name}": partial(_memory, name) for name in NETWORKS}
    return of_rows[0] | of_memory | {name: job for rows in of_rows[1:] for name, job in rows.items()}


def chosen_jobs(patterns: Sequence[str]) -> list[str]:
    """The names that match one of the patterns (`dailydialog-0-hred`, `*-hred`), or all without any.

    Raises ValueError with a sentence where a pattern matches nothing.
    """
    names = list(jobs())
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise ValueError(f"No row is called {pattern}; the names are {', '.join(names)}.")
    return [name for name in names if not patterns or any(fnmatch(name, pattern) for pattern in patterns)]


def results(names: Sequence[str], setting: Setting, out: Path, on_row: Callable[[], object], console: Console) -> None:
    """Measures what is named and not yet in `out`; `on_row` is called after each.

    Raises ValueError with a sentence where a corpus is missing or a run does not fit its row.
    """
    missing = [name for name in names if not (out / f"{name}.json").is_file()]
    started = time.monotonic()
    for done, name in enumerate(missing):
        left = f", about {_minutes((time.monotonic() - started) / done * (len(missing) - done))} left" if done else ""
        console.print(f"{name}: {len(names) - len(missing) + done + 1} of {len(names)}{left}", soft_wrap=True)
        measured = jobs()[name](setting, console)
        command = f"chatbot results --only {name}"
        _write(out / f"{name}.json", {"name": name, "command": command} | measured)
        shutil.rmtree(setting.run / name, ignore_errors=True)
        on_row()


def measure_row(corpus: str, seed: int, name: str, setting: Setting, console: Console) -> Measured:
    """Trains and scores one row of the table."""
    row = ROWS[name]
    windows = _prepared(corpus, setting, row.subtitles, console)
    if row.smoothing is not None:
        scores, facts = _of_ngrams(row.smoothing, windows)
    else:
        recipe = recipe_of(row, windows, setting.run / f"{corpus}-{seed}-{name}", setting.target_tokens, seed)
        scores, facts = _of_network(recipe, console)
    origin, fresh = np.load(windows / "origin.npy"), np.load(windows / "fresh.npy")
    fresh_scores = scores.where(fresh)
    return {
        "corpus": corpus,
        "seed": seed,
        "row": name,
        "test": figures(scores, origin),
        "fresh_test": figures(fresh_scores, origin[fresh]),
        **facts,
        "corpus_sizes": json.loads((windows / "report.json").read_text("utf-8")),
        "fresh_dialogues": _by_dialogue(fresh_scores, origin[fresh]),
    }


def _memory(name: str, setting: Setting, console: Console) -> Measured:
    return measure_memory(name, setting.memory_steps, console)


def recipe_of(row: Row, prepared: Path, run: Path, target_tokens: int, seed: int) -> Recipe:
    """What makes a network of the table: the same sizes and the same target tokens in all for every row."""
    of_pairs = round(target_tokens * PAIRS_SHARE) if row.subtitles else 0

    def stage(tokens: int, **changes: Any) -> StageConfig:
        judged = {"validate_every": max(1, tokens // 4), "validation_dialogues": 500, "patience": 100}
        settings = {"learning_rate": LEARNING_RATE, "batch_size": 32, "max_turns": WINDOW, "openings": True}
        return StageConfig(tokens, **settings | judged | changes)

    return Recipe(
        run=run,
        corpus=CorpusConfig(prepared, sources=(), vocabulary_size=VOCABULARY_SIZE),
        model=NetworkConfig(row.kind, row.cell, 1, row.bidirectional, **SIZES),
        word2vec=Word2VecConfig() if row.word2vec else None,
        pretrain=stage(of_pairs, batch_size=48, final_learning_rate=LEARNING_RATE / 2) if row.subtitles else None,
        train=stage(
            target_tokens - of_pairs,
            reinjection=row.reinjection,
            frozen_words_tokens=round(target_tokens * FROZEN_SHARE) if row.word2vec else 0,
        ),
        seed=seed,
    )


@torch.no_grad()
def score(model: HRED, store: TokenStore) -> Scores:
    """What a network makes of every utterance of a store of windows, the first ones given a zero state."""
    nats, errors = np.zeros((2, len(store), WINDOW))
    for first in range(0, len(store), _BATCH):
        batch = make_batch([store[place] for place in range(first, min(first + _BATCH, len(store)))], openings=True)
        _, states = model.read(batch)
        rows, turns = response_places(batch)
        found = response_scores(model, batch, states[batch.states])
        nats[first + rows, turns], errors[first + rows, turns] = found
    lengths = np.diff(store.utterances).reshape(-1, WINDOW)
    return Scores(lengths + 1, nats, errors)


def figures(scores: Scores, origin: np.ndarray) -> Measured:
    """The paper's measures with 95 % intervals over dialogues; `origin` (W,) numbers the dialogue of each window."""
    of_each = np.repeat(origin, WINDOW)
    found: dict[str, Estimate | None] = {
        "perplexity": estimate(scores.nats.ravel(), scores.tokens.ravel(), of_each, np.exp),
        "last_utterance_perplexity": estimate(scores.nats[:, -1], scores.tokens[:, -1], origin, np.exp),
        "word_error_rate": None
        if scores.errors is None
        else estimate(scores.errors.ravel(), scores.tokens.ravel(), of_each),
    }
    values = {name: one and round(one.value, 4) for name, one in found.items()}
    intervals = {name: one and one.interval and [round(end, 4) for end in one.interval] for name, one in found.items()}
    return {**values, "intervals": intervals, "windows": len(origin), "dialogues": len(np.unique(origin))}


def _prepared(corpus: str, setting: Setting, subtitles: bool, console: Console) -> Path:
    """The prepared folder of a corpus, made where there is none yet."""
    windows = setting.run / corpus
    if not windows.is_dir():
        console.print(f"Preparing {SOURCES[corpus].title} of {setting.corpora} in {windows}", soft_wrap=True)
        prepare_windows(corpus, setting.corpora, windows)
    if not subtitles:
        return windows
    both = setting.run / f"{corpus}-with-subtitles"
    if not both.is_dir():
        console.print(f"Preparing the subtitles of {setting.corpora} in {both}", soft_wrap=True)
        add_subtitles(windows, setting.corpora, both)
    return both


def _of_ngrams(smoothing: Smoothing, windows: Path) -> tuple[Scores, Measured]:
    started = time.monotonic()
    train_, validation, test = (TokenStore.open(windows / "dialogues" / split) for split in SPLITS)
    words = len(vocabulary_of(windows))
    model, history, perplexity = fit_best(train_, validation, words, smoothing, ORDERS)
    seconds = time.monotonic() - started
    lengths = np.diff(test.utterances)
    ends = np.cumsum(lengths + 1)
    nats = np.add.reduceat(model.nats(Text.of_store(test, history)), ends - (lengths + 1))
    scores = Scores((lengths + 1).reshape(-1, WINDOW), nats.reshape(-1, WINDOW), None)
    recipe = {"smoothing": smoothing, "order": model.order, "history": history}
    return scores, {"validation_perplexity": round(perplexity, 4), "recipe": recipe, "seconds": round(seconds)}


def _of_network(recipe: Recipe, console: Console) -> tuple[Scores, Measured]:
    checkpoint = load_checkpoint(train(recipe, console))
    rows = [json.loads(file.read_text("utf-8").splitlines()[-1]) for file in checkpoint.folder.glob("*-metrics.jsonl")]
    facts = {
        "validation_perplexity": round(checkpoint.metrics["validation"]["perplexity"], 4),
        "recipe": json.loads(TypeAdapter(Recipe).dump_json(recipe)),
        "target_tokens": sum(row["target_tokens"] for row in rows),
        "seconds": round(sum(row["seconds"] for row in rows)),  # of training steps
        "parameters": sum(weight.numel() for weight in checkpoint.model.parameters()),
        "checkpoint_bytes": (checkpoint.folder / "model.safetensors").stat().st_size,
    }
    return score(checkpoint.model, TokenStore.open(recipe.corpus.prepared / "dialogues" / "test")), facts


def _by_dialogue(scores: Scores, origin: np.ndarray) -> Measured:
    """Sums over each dialogue, by which the page compares two rows dialogue by dialogue."""
    _, place = np.unique(origin, return_inverse=True)
    tokens, nats = (np.bincount(place, part.sum(axis=1)) for part in (scores.tokens, scores.nats))
    return {"tokens": tokens.astype(int).tolist(), "nats": nats.round(2).tolist()}


def _write(file: Path, content: Measured) -> None:
    """As a whole or not at all; lists of numbers on one line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}")
    lists_closed = _LIST.sub(lambda found: " ".join(found[0].split()), json.dumps(content, indent=2))
    fresh.write_text(lists_closed + "\n", encoding="utf-8")
    fresh.replace(file)


def _minutes(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.0f} minutes"
