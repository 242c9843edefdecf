"""Trains the classifier of chatbot.safety on examples written for it, and measures it on others.

python -m training.safety              # chatbot/safety/examples.train.tsv -> chatbot/safety/weights.safetensors
python -m training.safety --measure    # how much it finds of examples.test.tsv and of chitchat's held-out part
"""

import random
import re
from collections.abc import Mapping, Sequence
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
from data.formats.corpora import chitchat, written

EXAMPLES = WEIGHTS.with_name("examples.train.tsv")
PATTERNS = WEIGHTS.with_name("patterns.train.tsv")
HELD_OUT_EXAMPLES = WEIGHTS.with_name("examples.test.tsv")
EASY, MORE, TO_SET_BY = 6_000, 50_000, 8_000  # ordinary utterances, for what `train` says
HARD = -3.0  # the margin above which an ordinary utterance is worth learning
FALSE_ALARMS = 1 / 280  # among them as many that are none
STEPS = 80
HELD_OUT = 0.1  # of chitchat's dialogues
TYPOS = 2  # misspelt copies of each example
VARIANTS = 40  # of each pattern
PENALTY = 5e-7
_CHOICE = re.compile(r"\(([^()]*)\)|\{(\w+)\}")
# Of chitchat's utterances those that ask what the classifier is to find.
_ASKS = re.compile(
    r"\b(?:are|r) (?:you|u) (?:an? |really |actually |even )*"
    r"(?:human|bot|robot|real|person|computer|ai|machine|program)\b"
    r"|\bhow old (?:are|r) (?:you|u)\b|\byour age\b"
    r"|\b(?:is this|talking to|you're|you are) an? (?:bot|human|robot|ai)\b",
    re.IGNORECASE,
)
_CARES = re.compile(
    r"\b(?:help ?lines?|crisis|ambulance|emergency|doctors?|police|pharmacist|poison|program|machine|bot|fault|worr\w+"
    r"|safe|no age|hurt\w*)\b",
    re.IGNORECASE,
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Example(NamedTuple):
    category: str
    utterance: str


class Row(NamedTuple):
    """What is learned of some words: the features they have, and the place of their category."""

    buckets: np.ndarray
    category: int


def read_examples(path: Path) -> list[Example]:
    rows = (line.split("\t") for line in path.read_text("utf-8").splitlines() if line)
    return [Example(category, utterance) for category, utterance in rows]


def read_patterns(path: Path) -> list[Example]:
    """Sentences made of the patterns in a file.

    `(one|another)` stands for one of the two, `{name}` for one of what is in the line `=name<TAB>one|another`.
    """
    rows = dict(line.split("\t") for line in path.read_text("utf-8").splitlines() if line.startswith("="))
    words_of = {name[1:]: found.split("|") for name, found in rows.items()}
    rng = random.Random(0)
    lines = [one for one in read_examples(path) if not one.category.startswith("=")]
    return [Example(one.category, _variant(one.utterance, words_of, rng)) for one in lines for _ in range(VARIANTS)]


def _variant(pattern: str, words_of: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """One of the sentences that a pattern stands for; a choice may hold names, and a name choices."""
    while found := _CHOICE.search(pattern):
        chosen = rng.choice(words_of[found[2]] if found[2] else found[1].split("|"))
        pattern = pattern[: found.start()] + chosen + pattern[found.end() :]
    return pattern


def ordinary(held_out: bool) -> list[str]:
    """The utterances of one part of chitchat, in an order of their own, but for those that are to be found."""
    texts = (text for one in chitchat() if _is_held_out(one.id) == held_out for text in one.utterances)
    found = [text for text in texts if not _ASKS.search(text)]
    random.Random(0).shuffle(found)
    return found


def said_to_it(split: str) -> list[str]:
    """What people say in the conversations written for the chatbot, where it need not answer with care."""
    harmless = (one for one in written() if one.split == split and not any(map(_CARES.search, one.utterances[1::2])))
    return [text for one in harmless for text in one.utterances[::2] if not _ASKS.search(text)]


def _is_held_out(id: str) -> bool:
    return int(sha256(id.encode()).hexdigest()[:8], 16) / 2**32 < HELD_OUT


def train(examples: Sequence[Example], harmless: Sequence[str], said: Sequence[str]) -> Classifier:
    """`harmless` are ordinary utterances. Some are learned, of more those that look dangerous then, and by the rest
    the threshold is set: FALSE_ALARMS of them are above it. Those `said` to a chatbot are learned, too."""
    rng = random.Random(0)
    told = [Example(one.category, text) for one in examples for text in (one.utterance, *_misspelt(one.utterance, rng))]
    easy, more, rest = harmless[:EASY], harmless[EASY : EASY + MORE], harmless[EASY + MORE :][:TO_SET_BY]
    rows = [_row(part, one.category) for one in told for part in _parts(one)]
    rows += [_row(part, NONE) for text in (*easy, *said) for part in spans(text)]
    first = _fitted(rows)
    hard = [part for text in more for part in spans(text) if first.judge_part(part).margin > HARD]
    found = _fitted(rows + [_row(part, NONE) for part in hard])
    found.threshold = float(np.quantile([found.judge(text).margin for text in rest], 1 - FALSE_ALARMS))
    return found


def _row(part: Sequence[str], category: str) -> Row:
    return Row(buckets(part).astype(np.int32), (*CATEGORIES, NONE).index(category))


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


def _fitted(rows: Sequence[Row]) -> Classifier:
    """The logistic regression, its weights in 8 bits."""
    features, back = _matrices([row.buckets for row in rows])
    categories = torch.tensor([row.category for row in rows])
    wanted = torch.nn.functional.one_hot(
        categories, len(CATEGORIES) + 1
    ).float()  # the last one is NONE, which scores 0
    weights = torch.zeros(BUCKETS, len(CATEGORIES), requires_grad=True)
    bias = torch.zeros(len(CATEGORIES), requires_grad=True)
    search = torch.optim.LBFGS([weights, bias], max_iter=STEPS, history_size=8, line_search_fn="strong_wolfe")

    @torch.no_grad()
    def loss() -> Tensor:
        likely = torch.log_softmax(torch.nn.functional.pad(features @ weights + bias, (0, 1)), 1)
        wrong = ((likely.exp() - wanted) / len(rows))[:, :-1]
        weights.grad = back @ wrong + 2 * PENALTY * weights
        bias.grad = wrong.sum(0)
        return -(likely * wanted).sum() / len(rows) + PENALTY * (weights**2).sum()

    search.step(loss)
    scale = weights.detach().abs().amax(0) / 127
    whole = (weights.detach() / scale).round().to(torch.int8)
    return Classifier(whole.numpy(), scale.numpy(), bias.detach().numpy(), 0.0)


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
        examples = read_examples(EXAMPLES) + read_patterns(PATTERNS)
        save(train(examples, ordinary(held_out=False), said_to_it("train")), WEIGHTS)
        return
    report(Classifier.load())


def report(classifier: Classifier) -> None:
    """Prints what is found, of the held-out examples those only that are not word for word among what was learned."""
    learned = {words(plain(one.utterance)) for one in read_examples(EXAMPLES)}
    held_out = [one for one in read_examples(HELD_OUT_EXAMPLES) if words(plain(one.utterance)) not in learned]
    judged = [(one.category, classifier.category_of(one.utterance)) for one in held_out]
    for kind in (*CATEGORIES, NONE):
        found = [name for category, name in judged if category == kind]
        click.echo(
            f"{kind:10} {len(found):4} held out, {sum(map(bool, found)):4} found, {found.count(kind):4} as {kind}"
        )
    dangers = [name for category, name in judged if category != NONE]
    click.echo(f"{sum(map(bool, dangers)) / len(dangers):.1%} of what is to be found")
    for source, said in {"chitchat": ordinary(held_out=True), "written": said_to_it("validation")}.items():
        caught = [(name, text) for text in said if (name := classifier.category_of(text))]
        click.echo(f"{source}: {len(said)} held out, {len(caught)} caught")
        for name, text in caught:
            click.echo(f"  {name}: {text}")


if __name__ == "__main__":
    main()
