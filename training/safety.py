"""Trains the classifier of chatbot.safety on examples written for it, and measures it on others.

python -m training.safety              # chatbot/safety/examples.train.tsv -> chatbot/safety/weights.safetensors
python -m training.safety --measure    # how much it finds of examples.test.tsv and of chitchat's held-out part
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from torch.nn.functional import cross_entropy

from chatbot.checkpoint import load_checkpoint
from chatbot.safety.classifier import CATEGORIES, NONE, WEIGHTS, Classifier
from chatbot.safety.features import PIECES, SIZES, Features, pieces_of
from chatbot.safety.network import Network
from chatbot.safety.wording import plain, stretches, words
from data.formats.corpora import chitchat, written
from data.word_vectors import GLOVE_PACKAGE, load_word_vectors

EXAMPLES = WEIGHTS.with_name("examples.train.tsv")
HELD_OUT_EXAMPLES = WEIGHTS.with_name("examples.test.tsv")
TO_SET_BY = 16_000  # ordinary utterances that set the threshold and are not learned
FALSE_ALARMS = 1 / 440  # of them that are above it; one in seven of those rightly
WORDS, SIZE = 16_000, 80  # that have vectors, and the numbers in each
EPOCHS = 11
ORDINARY, SAID = 8_000, 5_000  # utterances of an epoch
LOOKS = (2, 5)  # after these epochs the ordinary utterances are looked for that seem dangerous
HARD, HARDEST = -4.0, 6_000  # the margin above which they do, and how many are learned in each epoch from then on
BATCH = 64
LEARNING_RATES = (2e-2, 4e-3, 2e-3)  # of the second opinion, the vectors, and the rest
WEIGHT = 3.0  # of a danger, where a harmless utterance weighs 1
TYPO, DROPPED, BESIDE = 0.4, 0.03, 0.1  # how often an example has a typo, a word is left out, a harmless text beside it
HELD_OUT = 0.1  # of chitchat's dialogues
# Of chitchat's utterances those that ask what the classifier is to find.
_ASKS = re.compile(
    r"\b(?:are|r) (?:you|u) (?:an? |really |actually |even )*"
    r"(?:human|bot|robot|real|person|computer|ai|machine|program)\b"
    r"|\bhow old (?:are|r) (?:you|u)\b|\byour age\b"
    r"|\b(?:is this|talking to|you're|you are) an? (?:bot|human|robot|ai)\b",
    re.IGNORECASE,
)
# What may ask it, and is not learned as harmless.
_MAY_ASK = re.compile(
    r"\b(?:anyone|anybody|someone|somebody) (?:out |still |else |even )?(?:there|here)\b"
    r"|\b(?:are|r) (?:you|u) (?:a |an |still |even )?"
    r"(?:there|girl|boy|guy|man|woman|male|female|alive|fake|siri|alexa)\b"
    r"|\b(?:talk\w*|speak\w*|chat\w*) (?:to|with) (?:an? )?(?:real|human|computer|machine|ro?bot|ai|people|person)\b"
    r"|\b(?:chat ?bot|this bot|the bot|turing)\b|\byou(?:'re| are|r)? (?:really |not |so )?(?:real|a bot|a robot)\b",
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
    """What is learned of some words, and the place of their category."""

    features: Features
    category: int


def read_examples(path: Path) -> list[Example]:
    rows = (line.split("\t") for line in path.read_text("utf-8").splitlines() if line)
    return [Example(category, utterance) for category, utterance in rows]


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
    """`harmless` are ordinary utterances, and `said` such as people say to a chatbot. Of both some are learned in each
    epoch, and those that look dangerous. Harmless ones that are not learned set the threshold: FALSE_ALARMS of them
    are above it."""
    rng = random.Random(0)
    torch.manual_seed(0)
    harmless, said = ([text for text in part if not _MAY_ASK.search(text)] for part in (harmless, said))
    known = _vocabulary(examples)
    found = Classifier(_network(known), known)
    calm, told = _harmless(found, harmless[TO_SET_BY:]), _harmless(found, said)
    learner = _Learner(found.network, EPOCHS)
    hard: list[Row] = []
    for epoch in range(EPOCHS):
        rows = [_augmented(found, example, harmless, rng) for example in examples]
        rows += rng.sample(calm, min(ORDINARY, len(calm))) + rng.sample(told, min(SAID, len(told))) + hard
        learner.learn(rows, epoch, rng)
        if epoch in LOOKS:
            hard = _hardest(found, calm + told)
    found.network.eval()
    margins = [found.judge(text).margin for text in harmless[:TO_SET_BY]]
    found.threshold = float(np.quantile(margins, 1 - FALSE_ALARMS))
    found.seen = found.fingerprint(examples)
    return found


def _vocabulary(examples: Sequence[Example]) -> list[str]:
    """The words that have vectors: those of the examples, and then the most frequent ones."""
    vectors = load_word_vectors(GLOVE_PACKAGE)
    seen = Counter(word for one in examples for word in words(plain(one.utterance)))
    frequent = (word for word in vectors.index_to_key if re.fullmatch("[a-z]+", word))
    of_examples = (word for word in seen if word in vectors and word.isalpha())
    return [*SIZES, *dict.fromkeys(chain(of_examples, frequent))][:WORDS]


def _network(known: Sequence[str]) -> Network:
    """Its words begin with what is known of them, and pieces of words with what is known of the words they are in."""
    network = Network(len(known) + 1, SIZE, len(CATEGORIES) + 1)
    vectors = _vectors(known[len(SIZES) :])
    network.words.weight.data[1 + len(SIZES) :] = torch.from_numpy(vectors)
    of_pieces, count = np.zeros((PIECES, SIZE), np.float32), np.ones((PIECES, 1), np.float32)
    for word, vector in zip(known[len(SIZES) :], vectors, strict=True):
        places = list(pieces_of(word))
        np.add.at(of_pieces, places, vector)
        np.add.at(count, places, 1)
    network.pieces.weight.data = torch.from_numpy(of_pieces / count)
    network.rows.weight.data.zero_()
    return network


def _vectors(known: Sequence[str]) -> np.ndarray:
    """GloVe's vectors and the shipped checkpoint's, together in SIZE numbers. Of a word that the checkpoint lacks its
    vector is guessed from GloVe's."""
    told = load_word_vectors(GLOVE_PACKAGE)[known]
    shipped = load_checkpoint("default")
    table = shipped.model.embedding.weight.detach().float().numpy()
    has = np.array([word in shipped.vocabulary for word in known])
    theirs = table[[shipped.vocabulary.id_of(word) for word in known]]
    told, theirs = (one - one[has].mean(0) for one in (told, theirs))
    guess = np.linalg.lstsq(told[has], theirs[has], rcond=None)[0]
    theirs[~has] = told[~has] @ guess
    both = np.hstack([one / one[has].std() / np.sqrt(one.shape[1]) for one in (told, theirs)])
    axes = np.linalg.svd(both[has], full_matrices=False)[2][:SIZE]
    reduced = both @ axes.T
    return (0.5 * reduced / reduced.std()).astype(np.float32)


def _harmless(found: Classifier, texts: Sequence[str]) -> list[Row]:
    return [Row(found.features(stretch), len(CATEGORIES)) for text in texts for stretch in stretches(text)]


def _augmented(found: Classifier, example: Example, harmless: Sequence[str], rng: random.Random) -> Row:
    """It may be misspelt, lack words, and stand beside something harmless."""
    text = _with_typo(example.utterance, rng) if rng.random() < TYPO else example.utterance
    said = [word for word in words(plain(text)) if rng.random() >= DROPPED] or list(words(plain(text)))
    if rng.random() < BESIDE:
        beside = list(words(plain(rng.choice(harmless))))[:30]
        said = said + beside if rng.random() < 0.5 else beside + said
    return Row(found.features(said), (*CATEGORIES, NONE).index(example.category))


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


def _hardest(found: Classifier, rows: Sequence[Row]) -> list[Row]:
    margins = margins_of(found, rows)
    return [rows[place] for place in np.argsort(-margins)[:HARDEST] if margins[place] > HARD]


def margins_of(found: Classifier, rows: Sequence[Row]) -> np.ndarray:
    found.network.eval()
    margins = np.empty(len(rows), np.float32)
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].features.words))
    for start in range(0, len(order), 512):
        places = order[start : start + 512]
        margins[places] = found.margins([rows[place].features for place in places])[0]
    return margins


class _Learner:
    """Teaches both opinions of a network at once, each what the other need not know."""

    def __init__(self, network: Network, epochs: int) -> None:
        self._network, self._epochs = network, epochs
        vectors = [network.words.weight, network.pieces.weight]
        rest = [network.bias, *network.filters.parameters(), *network.out.parameters()]
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.SparseAdam([network.rows.weight]),
            torch.optim.SparseAdam(vectors),
            torch.optim.AdamW(rest, weight_decay=1e-4),
        ]

    def learn(self, rows: list[Row], epoch: int, rng: random.Random) -> None:
        self._network.train()
        batches = list(_batches(rows, rng))
        for number, batch in enumerate(batches):
            left = 1 - (epoch + number / len(batches)) / self._epochs
            wanted = torch.tensor([row.category for row in batch])
            filtered, second = self._network([row.features for row in batch])
            weight = torch.tensor([WEIGHT] * len(CATEGORIES) + [1.0])
            loss = cross_entropy(filtered, wanted, weight) + cross_entropy(second, wanted, weight)
            loss.backward()
            for optimizer, rate in zip(self._optimizers, LEARNING_RATES, strict=True):
                optimizer.param_groups[0]["lr"] = rate * left
                optimizer.step()
                optimizer.zero_grad()


def _batches(rows: list[Row], rng: random.Random) -> Iterator[list[Row]]:
    """Of rows that are about equally long."""
    rng.shuffle(rows)
    near = [
        sorted(rows[start : start + 32 * BATCH], key=lambda row: len(row.features.words))
        for start in range(0, len(rows), 32 * BATCH)
    ]
    batches = [part[start : start + BATCH] for part in near for start in range(0, len(part), BATCH)]
    rng.shuffle(batches)
    yield from batches


@click.command()
@click.option("--measure", is_flag=True, help="Measure the weights that are there on what they were not trained on.")
@click.option("--missed", is_flag=True, help="Print also the examples that are judged wrongly.")
def main(measure: bool, missed: bool) -> None:
    torch.set_num_threads(1)
    if measure:
        report(Classifier.load(), missed)
    else:
        train(read_examples(EXAMPLES), ordinary(held_out=False), said_to_it("train")).save()


def report(classifier: Classifier, missed: bool) -> None:
    """Prints what is found, of the held-out examples those only that are not word for word among what was learned."""
    learned = {words(plain(one.utterance)) for one in read_examples(EXAMPLES)}
    held_out = [one for one in read_examples(HELD_OUT_EXAMPLES) if words(plain(one.utterance)) not in learned]
    judged = [(one.category, classifier.category_of(one.utterance)) for one in held_out]
    if missed:
        _print(one for one, (category, name) in zip(held_out, judged, strict=True) if (category != NONE) != bool(name))
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
        _print(caught)


def _print(examples: Iterable[tuple[str, str]]) -> None:
    for category, utterance in examples:
        click.echo(f"  {category}: {utterance}")


if __name__ == "__main__":
    main()
