"""What `chatbot evaluate` found, as a table for a terminal and as a picture beside the JSON."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.box import SIMPLE
from rich.table import Column, Table

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from training.evaluate import FREQUENT, HUMANS, MODEL, RANDOM

_NAMES = {
    "perplexity": "perplexity",
    "last_utterance_perplexity": "  last utterance",
    "shuffled_perplexity": "  states shuffled",
    "word_error_rate": "word error rate",
    "recall_at_1_of_10": "recall@1 of 10",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "unique_share": "unique",
    "dull_share": "dull",
    "repeat_share": "repeats",
    "fit_share": "fit",
    "fluency_share": "fluency",
    "mean_length": "mean length",
}
_SHARES = ("recall_at_1_of_10", "distinct_1", "distinct_2", "unique_share", "dull_share", "repeat_share", "fit_share",
           "fluency_share")  # fmt: skip
_PERPLEXITIES = ("perplexity", "last_utterance_perplexity", "shuffled_perplexity")


def table_of(report: dict[str, Any]) -> Table:
    """The checkpoint's figures with their intervals beside those of people and of both controls."""
    names = ("model", "95 % interval", *_others(report))
    columns = (Column(name, justify="right", no_wrap=True) for name in names)
    table = Table(Column(no_wrap=True), *columns, box=SIMPLE)
    for name, label in _NAMES.items():
        interval = report["intervals"][name]
        shown = "" if interval is None else f"{_number(name, interval[0])}–{_number(name, interval[1])}"
        others = (_number(name, other.get(name)) for other in _others(report).values())
        table.add_row(label, _number(name, report[name]), shown, *others)
    if report["retrieved_share"]:
        table.add_row("retrieved", _number("retrieved_share", report["retrieved_share"]))
    return table


def save(report: dict[str, Any], turns: list[dict[str, Any]], out: Path | None, replies: Path | None) -> None:
    """Writes the figures as JSON with their picture beside it, and the replies as JSONL, to where either should go.

    Raises ValueError as `picture_of` does, once both are written.
    """
    if out is not None:
        out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if replies is not None:
        lines = (f"{json.dumps(turn, ensure_ascii=False)}\n" for turn in turns)
        replies.write_text("".join(lines), encoding="utf-8")
    if out is not None:
        draw(report, turns, picture_of(out))


def picture_of(out: Path) -> Path:
    """Where the picture beside the JSON goes. Raises ValueError with a sentence where that is where the JSON is."""
    if out.suffix.lower() == ".png":
        raise ValueError(f"{out} is the name of a picture; end the name after --json in .json.")
    return out.with_suffix(".png")


def draw(report: dict[str, Any], turns: list[dict[str, Any]], picture: Path) -> None:
    """Perplexities, shares, lengths and fluency of replies beside those of people; writes a PNG."""
    figure, panels = plt.subplots(1, 4, figsize=(18, 4.5), layout="constrained", width_ratios=(1, 2.2, 1, 1))
    perplexities, shares, lengths, fluency = panels
    _bars(perplexities, {"model": report}, _PERPLEXITIES)
    perplexities.set(title="perplexity a token")
    _bars(shares, {"model": report, **_others(report)}, _SHARES)
    shares.set(title=f"of {report['contexts']:,} replies", ylim=(0, 1))
    shares.legend()
    for who, key, speaker in (("model", "reply", MODEL), ("people", "human", HUMANS)):
        words = [len(turn[key].split()) for turn in turns]
        lengths.hist(words, bins=range(0, 42), density=True, histtype="step", label=who)
        judged = [turn["scores"][speaker]["fluency"] for turn in turns if "fluency" in turn["scores"][speaker]]
        if judged:
            fluency.hist(judged, bins=np.arange(-10, 0.1, 0.25), density=True, histtype="step", label=who)
        if judged and speaker == HUMANS:
            fluency.axvspan(*np.percentile(judged, (25, 75)), alpha=0.15, color="C1", label="their quartiles")
    lengths.set(title="length of replies", xlabel="words, as between spaces", ylabel="share")
    fluency.set(title="fluency: by the language model", xlabel="log-probability a token")
    for panel in (lengths, fluency):
        if panel.get_legend_handles_labels()[0]:
            panel.legend()
    figure.suptitle(f"{report['checkpoint']} on {report['corpus']}")
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def _others(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    controls = report["controls"]
    named = {"people": report[HUMANS], "random": controls[RANDOM], "frequent": controls[FREQUENT]}
    return {name: figures for name, figures in named.items() if figures}


def _number(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if "share" in name:
        return f"{value:.1%}"
    return f"{value:.1f}" if "perplexity" in name or "length" in name else f"{value:.2f}"


def _bars(axes: Axes, columns: dict[str, dict[str, Any]], names: tuple[str, ...]) -> None:
    """One group of bars for each figure that is known, one bar of it a column, with the intervals as whiskers."""
    names = tuple(name for name in names if any(figures.get(name) is not None for figures in columns.values()))
    width = 0.8 / len(columns)
    for place, (column, figures) in enumerate(columns.items()):
        known = [at for at, name in enumerate(names) if figures.get(name) is not None]
        values = [figures[names[at]] for at in known]
        intervals = [figures["intervals"][names[at]] or (value, value) for at, value in zip(known, values, strict=True)]
        whiskers = [[value - low, high - value] for value, (low, high) in zip(values, intervals, strict=True)]
        middles = [at + (place - (len(columns) - 1) / 2) * width for at in known]
        axes.bar(middles, values, width, yerr=np.array(whiskers).T, capsize=2, label=column)
    axes.set_xticks(range(len(names)), [_NAMES[name].strip().replace(" ", "\n", 1) for name in names], fontsize=8)
