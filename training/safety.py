"""Trains the classifier of chatbot.safety on examples written for it, and measures it on others.

python -m training.safety              # chatbot/safety/examples.train.tsv -> chatbot/safety/weights.safetensors
python -m training.safety --measure    # how much it finds of examples.test.tsv and of chitchat's held-out part
"""

import random
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor

from chatbot.safety.classifier import BUCKETS, CATEGORIES, NONE, WEIGHTS, Classifier, buckets
from chatbot.safety.wording import plain, spans, words
from data.formats.corpora import chitchat

EXAMPLES = WEIGHTS.with_name("examples.train.tsv")
HELD_OUT_EXAMPLES = WEIGHTS.with_name("examples.test.tsv")
ORDINARY = 16_000  # utterances of chitchat that are learned as what is to be answered
HELD_OUT = 0.1  # of chitchat's dialogues
TYPOS = 2  # misspelt copies of each example
PENALTY = 1e-6
THRESHOLD = -1.0
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Example(NamedTuple):
    category: str
    utterance: str


def read_examples(path: Path) -> list[Example]:
    rows = (line.split("\t") for line in path.read_text("utf-8").splitlines() if line)
    return [Example(category, utterance) for category, utterance in rows]


def ordinary(held_out: bool) -> list[str]:
    """The utterances of one part of chitchat, in an order of their own."""
    found = [text for one in chitchat() if _is_held_out(one.id) == held_out for text in one.utterances]
    random.Random(0).shuffle(found)
    return found


def _is_held_out(id: str) -> bool:
    return int(sha256(id.encode()).hexdigest()[:8], 16) / 2**32 < HELD_OUT


def train(examples: Sequence[Example], harmless: Iterable[str]) -> Classifier:
    rng = random.Random(0)
    told = [Example(one.category, text) for one in examples for text in (one.utterance, *_misspelt(one.utterance, rng))]
    told += [Example(NONE, text) for text in harmless]
    rows = [(buckets(part), CATEGORIES.index(one.category)) for one in told for part in _parts(one)]
    weights, bias = _fitted([found for found, _ in rows], torch.tensor([category for _, category in rows]))
    scale = weights.abs().amax(0) / 127
    whole = (weights / scale).round().to(torch.int8)
    return Classifier(whole.numpy(), scale.numpy(), bias.numpy(), THRESHOLD)


def _parts(example: Example) -> list[tuple[str, ...]]:
    """Of a harmless example every part is; of another one we know it of the whole only."""
    whole = words(plain(example.utterance))
    return spans(example.utterance) if example.category == NONE else [whole] * bool(whole)


def _misspelt(text: str, rng: random.Random) -> list[str]:
    return [_with_typo(text, rng) for _ in range(TYPOS)]


def _with_typo(text: str, rng: random.Random) -> str:
    """A letter is left out, doubled, changed for its neighbour or for another one."""
    place = rng.randrange(max(1, len(text) - 1))
    before, one, after = text[:place], text[place : place + 1], text[place + 1 :]
    return rng.choice(
        [
            before + after,
            before + one + one + after,
            before + after[:1] + one + after[1:],
            before + rng.choice(_LETTERS) + after,
        ]
    )


def _fitted(rows: Sequence[np.ndarray], categories: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (BUCKETS, categories) and bias of the logistic regression."""
    features, back = _matrices(rows)
    wanted = torch.nn.functional.one_hot(categories, len(CATEGORIES)).float()
    weights = torch.zeros(BUCKETS, len(CATEGORIES), requires_grad=True)
    bias = torch.zeros(len(CATEGORIES), requires_grad=True)
    search = torch.optim.LBFGS([weights, bias], max_iter=80, history_size=8, line_search_fn="strong_wolfe")

    @torch.no_grad()
    def loss() -> Tensor:
        likely = torch.log_softmax(features @ weights + bias, 1)
        wrong = (likely.exp() - wanted) / len(rows)
        weights.grad = back @ wrong + 2 * PENALTY * weights
        bias.grad = wrong.sum(0)
        return -(likely * wanted).sum() / len(rows) + PENALTY * (weights**2).sum()

    search.step(loss)
    return weights.detach(), bias.detach()


def _matrices(rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Which features (rows, BUCKETS) each row has, its length 1, and the same transposed."""
    lengths = np.array([len(row) for row in rows])
    values = torch.from_numpy(np.repeat(1 / np.sqrt(lengths), lengths).astype(np.float32))
    places = torch.from_numpy(np.stack([np.repeat(np.arange(len(rows)), lengths), np.concatenate(rows)]))
    features = torch.sparse_coo_tensor(places, values, (len(rows), BUCKETS)).coalesce()
    return features.to_sparse_csr(), features.t().coalesce().to_sparse_csr()


def save(classifier: Classifier, path: Path) -> None:
    stored = {"weights": classifier.weights, "scale": classifier.scale, "bias": classifier.bias}
    save_file(stored | {"threshold": np.array(classifier.threshold, np.float32)}, path)


@click.command()
@click.option("--measure", is_flag=True, help="Measure the weights that are there on what they were not trained on.")
def main(measure: bool) -> None:
    if not measure:
        save(train(read_examples(EXAMPLES), ordinary(held_out=False)[:ORDINARY]), WEIGHTS)
        return
    report(Classifier.load())


def report(classifier: Classifier) -> None:
    held_out = read_examples(HELD_OUT_EXAMPLES)
    for kind in CATEGORIES:
        found = [classifier.category_of(one.utterance) for one in held_out if one.category == kind]
        click.echo(
            f"{kind:10} {len(found):4} held out, {sum(map(bool, found)):4} found, {found.count(kind):4} as {kind}"
        )
    said = ordinary(held_out=True)
    caught = [(name, text) for text in said if (name := classifier.category_of(text))]
    click.echo(f"chitchat: {len(said)} held out, {len(caught)} caught")
    for name, text in caught:
        click.echo(f"  {name}: {text}")


if __name__ == "__main__":
    main()
