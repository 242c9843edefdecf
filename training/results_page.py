"""docs/results.md and its pictures, from the JSON of the rows and nothing else: the same files give the same page."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np

from training.measures import Estimate, estimate
from training.memory import FACT, FARTHEST, KEYS
from training.results import BUDGET, PAIRS_SHARE, ROWS, SIZES, Measured
from training.windows import LONG, SOURCES, VOCABULARY_SIZE

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_ORDER = (
    "kneser-ney", "witten-bell", "rnn", "seq2seq", "hred", "hred-word2vec", "rnn-subtitles", "hred-subtitles",
    "hred-bi-subtitles", "lstm", "elman", "reinjection",
)  # fmt: skip
_PAPER = (  # the first of each has the lower perplexity there
    ("rnn", "kneser-ney"),
    ("rnn", "witten-bell"),
    ("witten-bell", "kneser-ney"),
    ("rnn", "hred"),
    ("hred-word2vec", "hred"),
    ("hred-word2vec", "rnn"),
    ("rnn-subtitles", "rnn"),
    ("hred-subtitles", "hred"),
    ("hred-subtitles", "hred-word2vec"),
    ("hred-bi-subtitles", "hred-subtitles"),
    ("hred-bi-subtitles", "rnn-subtitles"),
)
_OTHERS = (  # what is said of hierarchy, gates and reinjection
    ("hred", "seq2seq"),
    ("hred", "elman"),
    ("lstm", "elman"),
    ("lstm", "hred"),
    ("reinjection", "hred"),
)
_SHOWN_BACK = (1, 2, 3, 5, 10, 15, 20)  # of the memory's distances, in the table
_NONE = "–"

Rows = dict[str, list[Measured]]  # by row, one a seed


class Comparison(NamedTuple):
    """The perplexity of one row over another's, with its interval; `holds` is None where that is not decided."""

    ratio: Estimate
    holds: bool | None


def write_page(folder: Path) -> Path:
    """Writes FOLDER.md and the pictures of what is in `folder`; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder.with_suffix(".md")
    page.write_text(page_of(folder), encoding="utf-8")
    for corpus, rows in _rows(folder).items():
        _draw_perplexities(SOURCES[corpus].title, rows, folder / f"{corpus}.png")
    memory = _memory(folder)
    if memory:
        _draw_memory(memory, folder / "memory.png")
    return page


def page_of(folder: Path) -> str:
    """The page as Markdown. What has not been measured yet is shown as missing."""
    corpora = _rows(folder)
    parts = [_introduction(corpora)]
    parts += [_table(folder.name, corpus, corpora[corpus]) for corpus in SOURCES if corpus in corpora]
    parts.append(_orderings(corpora))
    why = folder / "why.md"
    if why.is_file():
        parts.append(f"## Why\n\n{why.read_text('utf-8').strip()}")
    parts.append(_remembered(folder.name, _memory(folder)))
    return "\n\n".join(parts) + "\n"


def compare(lower: Sequence[Measured], upper: Sequence[Measured], apart: float = 1.0) -> Comparison:
    """Whether the first row's perplexity is the lower one, by the same dialogues of the fresh test drawn for both.

    Seeds are averaged. Nothing is decided where they disagree, where the interval of the ratio holds 1, or where the
    rows are no further `apart` (a ratio) than two seeds of one row may be.
    """
    tokens = np.array(lower[0]["fresh_dialogues"]["tokens"])
    difference = _mean_nats(lower) - _mean_nats(upper)
    ratio = estimate(difference, tokens, np.arange(len(tokens)), np.exp)
    if ratio is None or ratio.interval is None:
        raise ValueError("There is but one dialogue to compare by; take a larger corpus.")
    by_seed = {one["seed"]: _mean_nats([one]).sum() for one in upper}
    signs = {bool(_mean_nats([one]).sum() < by_seed[one["seed"]]) for one in lower if one["seed"] in by_seed}
    beyond_chance = not ratio.interval[0] <= 1 <= ratio.interval[1] and max(ratio.value, 1 / ratio.value) > apart
    decided = len(signs) < 2 and beyond_chance
    return Comparison(ratio, ratio.value < 1 if decided else None)


def _mean_nats(seeds: Sequence[Measured]) -> np.ndarray:
    return np.mean([one["fresh_dialogues"]["nats"] for one in seeds], axis=0)


def _rows(folder: Path) -> dict[str, Rows]:
    """What was measured of the table: by corpus, by row, a list of seeds."""
    found: dict[str, Rows] = defaultdict(lambda: defaultdict(list))
    for measured in _read(folder):
        if "row" in measured:
            found[measured["corpus"]][measured["row"]].append(measured)
    return found


def _memory(folder: Path) -> dict[str, np.ndarray]:
    """Recall by network: (seeds, FARTHEST)."""
    return {one["network"]: np.array(one["recall"]) for one in _read(folder) if "network" in one}


def _read(folder: Path) -> Iterable[Measured]:
    return [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]


def _introduction(corpora: dict[str, Rows]) -> str:
    every = [one for rows in corpora.values() for seeds in rows.values() for one in seeds]
    spent = [one["target_tokens"] for one in every if "target_tokens" in one] or [BUDGET]
    if max(spent) > 3 * min(spent):  # not exactly equal, for a stage ends with its batch
        raise ValueError(
            f"The rows learned from {min(spent):,} to {max(spent):,} target tokens; remove the JSON of those that are "
            "not to be compared."
        )
    budget = f"{max(spent) / 1e6:.2g} million"
    sizes = ", ".join(f"{name.removesuffix('_size')} {size}" for name, size in SIZES.items())
    return f"""# What the models foretell, row by row

The table of [Serban et al. (2016)](https://arxiv.org/abs/1507.04808) on corpora that anyone can get. `make results`
trains and scores every row and writes this page from the figures in `docs/results/`; it goes on where it was stopped.
`chatbot results --only NAME` makes a row anew whose JSON is removed; `chatbot results --page` only writes the page.

As in MovieTriples, dialogues are cut into windows of three utterances, here such as do not overlap, and every utterance
is a target, the first of a window from a zero state. The vocabulary is the {VOCABULARY_SIZE:,} commonest tokens of the
training split. Perplexity is over all tokens, unknown words and the ends of utterances included, and so is the word
error rate, the share of tokens that were not the likeliest after the true ones before them. Every network learns from
{budget} target tokens in all, with the same optimiser, learning rate (found for the HRED of GRU cells), batches and
sizes ({sizes}); the rows with subtitles spend {PAIRS_SHARE:.0%} of them on
question-answer pairs first. word2vec reads the row's own training split, five times more. The encoder reads in one
direction except in the row called Bi. Of the n-grams, which read the whole training split once, the order (up to five)
and whether earlier utterances are a history are chosen by validation.

*Fresh* are the windows of which no utterance of {LONG} tokens or more stands in training, whatever its case and
punctuation. Models are compared on them, and validation windows are all fresh. Intervals are 95 %, from drawing
dialogues anew; how a network would have turned out from another seed is not in them. Figures of several seeds, and
the ends of their intervals, are averaged."""


def _table(folder: str, corpus: str, rows: Rows) -> str:
    sizes = next(iter(rows.values()))[0]["corpus_sizes"]
    one = next(iter(rows.values()))[0]
    share = one["fresh_test"]["windows"] / one["test"]["windows"]
    seeds = sorted({one["seed"] for seeds in rows.values() for one in seeds})
    lines = [
        f"## {SOURCES[corpus].title}",
        "",
        f"{sizes['train']['windows']:,} windows of {sizes['train']['target_tokens']:,} target tokens to learn from, "
        f"{sizes['test']['windows']:,} to be tested by, {share:.1%} of them fresh; "
        f"{sizes['test']['unknown']:.1%} of the test's tokens are unknown. "
        f"{'Seeds' if len(seeds) > 1 else 'Seed'} {', '.join(map(str, seeds))}.",
        *([f"Two seeds of one row are at most {_apart(rows) - 1:.1%} of perplexity apart."] if len(seeds) > 1 else []),
        "",
        "| | paper | perplexity, fresh test | last utterance | word error rate | perplexity, whole test | weights |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in _ORDER:
        measured = rows.get(name, [])
        fresh = [_figure(measured, "fresh_test", figure) for figure in ("perplexity", "last_utterance_perplexity")]
        error, whole = _figure(measured, "fresh_test", "word_error_rate"), _figure(measured, "test", "perplexity")
        paper = f"{ROWS[name].paper:.2f}" if ROWS[name].paper else ""
        weights = f"{measured[0]['parameters'] / 1e6:.1f} M" if measured and "parameters" in measured[0] else _NONE
        lines.append(
            f"| {_title(name, measured)} | {paper} | {fresh[0]} | {fresh[1]} | {error} | {whole} | {weights} |"
        )
    return "\n".join([*lines, "", f"![Perplexities]({folder}/{corpus}.png)"])


def _title(name: str, measured: Sequence[Measured]) -> str:
    if not measured or ROWS[name].smoothing is None:
        return ROWS[name].title
    recipe = measured[0]["recipe"]
    return f"{ROWS[name].title} (order {recipe['order']}, history: the {recipe['history']})"


def _figure(seeds: Sequence[Measured], test: str, name: str) -> str:
    """A figure and its interval, averaged over seeds."""
    known = [one[test] for one in seeds if one[test][name] is not None]
    if not known:
        return _NONE
    low, high = np.mean([one["intervals"][name] for one in known], axis=0)
    value = np.mean([one[name] for one in known])
    if name == "word_error_rate":
        return f"{100 * value:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _apart(rows: Rows) -> float:
    """The largest ratio of the perplexities of two seeds of a row; 1 where no row has two."""
    of_seeds = [[one["fresh_test"]["perplexity"] for one in seeds] for seeds in rows.values()]
    return max((max(seeds) / min(seeds) for seeds in of_seeds), default=1.0)


def _orderings(corpora: dict[str, Rows]) -> str:
    titles = [SOURCES[corpus].title for corpus in SOURCES]
    apart = max(map(_apart, corpora.values()), default=1.0)
    lines = [
        "## Which orderings hold",
        "",
        "Each cell is the ratio of the two perplexities on the fresh test, dialogue by dialogue, with its interval.",
        "Nothing is decided where that holds 1, or where the rows are no further apart than two seeds of one row are",
        "anywhere on this page.",
        "",
        f"| the first is lower | paper | {' | '.join(titles)} |",
        f"|---|---|{'---|' * len(titles)}",
    ]
    for lower, upper in (*_PAPER, *_OTHERS):
        names = f"{_short(lower)} < {_short(upper)}"
        paper = f"{ROWS[lower].paper:.2f} < {ROWS[upper].paper:.2f}" if (lower, upper) in _PAPER else ""
        cells = [_cell(corpora.get(corpus, {}), lower, upper, apart) for corpus in SOURCES]
        lines.append(f"| {names} | {paper} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(_verdicts(corpus, corpora.get(corpus, {}), apart) for corpus in SOURCES)])


def _cell(rows: Rows, lower: str, upper: str, apart: float) -> str:
    if not (rows.get(lower) and rows.get(upper)):
        return "not decided: not measured"
    ratio, holds = compare(rows[lower], rows[upper], apart)
    assert ratio.interval is not None
    verdict = {True: "**holds**", False: "**does not hold**", None: "not decided"}[holds]
    return f"{verdict}: {ratio.value:.3f} ({ratio.interval[0]:.3f} to {ratio.interval[1]:.3f})"


def _verdicts(corpus: str, rows: Rows, apart: float) -> str:
    """One sentence on the paper's orderings on a corpus."""
    found: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for lower, upper in _PAPER:
        measured = rows.get(lower) and rows.get(upper)
        holds = compare(rows[lower], rows[upper], apart).holds if measured else None
        found[holds].append(f"{_short(lower)} < {_short(upper)}")
    said = {True: "hold", False: "do not hold", None: "are not decided"}
    counts = [f"{len(found[holds])} {verb}{_listed(found[holds])}" for holds, verb in said.items()]
    return f"- Of the paper's {len(_PAPER)} orderings on {SOURCES[corpus].title}, {'; '.join(counts)}."


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _short(name: str) -> str:
    return ROWS[name].title.removeprefix("n-gram, ").partition(" (")[0]


def _remembered(folder: str, memory: dict[str, np.ndarray]) -> str:
    if not memory:
        return "## What the cells remember\n\nNot measured yet."
    lines = [
        "## What the cells remember",
        "",
        f"A fact is named, one of {KEYS} for each of its {FACT} words; k - 1 utterances of other words follow, and",
        "then it is asked for. A small HRED of each cell, and a flat seq2seq, learn that with k from 1 to "
        f"{FARTHEST}. The share of the words that are right, the mean of all seeds, where chance is {1 / KEYS:.2f}:",
        "",
        f"| k | {' | '.join(map(str, _SHOWN_BACK))} |",
        f"|---|{'---|' * len(_SHOWN_BACK)}",
    ]
    for name, recall in memory.items():
        shares = " | ".join(f"{recall[:, back - 1].mean():.2f}" for back in _SHOWN_BACK)
        lines.append(f"| {_network(name)} | {shares} |")
    return "\n".join([*lines, "", f"![Recall by distance]({folder}/memory.png)"])


def _network(name: str) -> str:
    return {"elman": "Elman", "gru": "GRU", "lstm": "LSTM", "seq2seq": "flat seq2seq"}[name]


def _draw_perplexities(title: str, rows: Rows, picture: Path) -> None:
    names = [name for name in reversed(_ORDER) if rows.get(name)]
    figure, axes = plt.subplots(figsize=(8, 0.5 + 0.4 * len(names)), layout="constrained")
    for name in names:
        fresh = [one["fresh_test"] for one in rows[name]]
        value = np.mean([one["perplexity"] for one in fresh])
        low, high = np.mean([one["intervals"]["perplexity"] for one in fresh], axis=0)
        axes.barh(_short(name), value, xerr=[[value - low], [high - value]], capsize=3, color="tab:blue")
    axes.set(title=f"{title}: perplexity, fresh test")
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def _draw_memory(memory: dict[str, np.ndarray], picture: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    distances = range(1, FARTHEST + 1)
    for place, (name, recall) in enumerate(memory.items()):
        axes.plot(distances, recall.mean(axis=0), label=_network(name), color=f"C{place}")
        axes.plot(distances, recall.T, color=f"C{place}", alpha=0.3, linewidth=0.8)
    axes.axhline(1 / KEYS, color="grey", linestyle=":", label="chance")
    axes.set(xlabel="utterances back", ylabel="share of words that are right", ylim=(0, 1.02), xticks=distances)
    axes.legend()
    figure.savefig(picture, dpi=110)
    plt.close(figure)
