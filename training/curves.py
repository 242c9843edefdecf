"""The curves of a stage as a picture, for people who would rather look than read."""

import json
from math import exp, nan
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RECALL = "recall_at_1_of_10"  # in `metrics.jsonl`, where it could be measured


def draw_curves(metrics: Path, picture: Path, title: str) -> None:
    """Perplexity and recall@1 of 10 over target tokens, from a stage's `metrics.jsonl`."""
    rows = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    tokens = [row["target_tokens"] / 1e6 for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(tokens, [row["perplexity"] for row in rows], label="with the tracked state")
    left.plot(tokens, [row["perplexity_without_state"] for row in rows], label="with no state", linestyle="--")
    left.plot(tokens, [exp(row["training_loss"]) for row in rows], label="on the last batch learned", linestyle=":")
    left.set(title=f"{title}: perplexity", xlabel="million target tokens", yscale="log")
    left.legend()
    right.plot(tokens, [row.get(RECALL, nan) for row in rows], color="tab:green")
    right.axhline(0.1, color="grey", linestyle=":", label="chance")
    right.set(title=f"{title}: recall@1 of 10", xlabel="million target tokens", ylim=(0, 1))
    right.legend()
    figure.savefig(picture, dpi=110)
    plt.close(figure)
