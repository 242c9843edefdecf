"""Which lessons are learned, and by which the training and the gate are judged; and those as token stores.

Conversations are held out whole, by the hash of their ids. A log that repeats itself would leave the gate nothing to
judge by, as everything that it asks is learned from other dialogues. Of such a log some questions are held out as well,
wherever they are asked, whose answers are learned from other wordings.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.curation import NearCopies, are_own, kinds, pairs_of
from data.store import StoreWriter
from data.vocabulary import Vocabulary
from training.gate import FEWEST
from training.lessons import CONTEXT_ONLY, Taught

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.05  # of the conversations, to judge the training by, and again for the gate
FEWEST_VALIDATION = 3  # conversations, where 5 % would be fewer; of the gate's, what it asks for
ENOUGH = 2 * FEWEST  # conversations for the gate; where it has fewer, questions of logs are held out as well
SPARED = 4  # of so many wordings that have one answer, one may be held out

Parts = dict[str, list[Taught]]


def split(lessons: Sequence[Taught]) -> Parts:
    """Return the lessons by split; those of "test" have weights only where the gate judges by them.

    The gate judges by nothing that is learned. What people brought counts as learned where an utterance with its
    response is nearly the same as a learned one, what a log holds where the utterance that is answered is nearly the
    same. The gate does not judge by what is disliked either.
    """
    parts = _by_conversation(lessons)
    parts["test"] = _unseen(parts["test"], parts["train"])
    missing = ENOUGH - judging(parts["test"])
    return _with_questions_held_out(parts, missing) if missing > 0 else parts


def judging(test: Iterable[Taught]) -> int:
    """How many conversations have something to judge by."""
    return len({taught.id for taught in test if taught.has_response})


def write_stores(folder: Path, parts: Parts, vocabulary: Vocabulary) -> dict[str, int]:
    """Write the parts and return how many lessons each has.

    Each response is learned a second time with only the utterance that it answers, because most conversations begin
    with a question. The training is not judged by what is disliked.
    """
    written = {
        "train": [*parts["train"], *(alone for taught in parts["train"] for alone in _alone(taught))],
        "validation": [_weighing(taught, _exchanges(taught)) for taught in parts["validation"]],
        "test": parts["test"],
    }
    for name, part in written.items():
        _write_store(folder / name, part, vocabulary)
    return {name: len(part) for name, part in parts.items()}


class _Exchange(NamedTuple):
    """A response to learn, at its place in a lesson, with what it answers."""

    taught: Taught
    place: int

    @property
    def question(self) -> str:
        return self.taught.utterances[self.place - 1]

    @property
    def answer(self) -> str:
        return self.taught.utterances[self.place]

    @property
    def pair(self) -> str:
        """Both, as a text for `NearCopies`."""
        return next(pairs_of((self.question, self.answer)))


def _exchanges(taught: Taught) -> list[_Exchange]:
    return [_Exchange(taught, place) for place in range(1, len(taught.utterances)) if taught.weights[place] > 0]


def _weighing(taught: Taught, exchanges: Iterable[_Exchange]) -> Taught:
    """The lesson with the weights of these responses only."""
    places = {one.place for one in exchanges}
    weights = (weight if place in places else CONTEXT_ONLY for place, weight in enumerate(taught.weights))
    return replace(taught, weights=tuple(weights))


def _by_conversation(lessons: Sequence[Taught]) -> Parts:
    """Divide by the hash of the conversation, so that nothing is judged by what an earlier retraining learned from.

    Where that holds out too few, those of the next hashes are held out as well: for the gate only conversations that
    say something that no other says, for the training only those with something to learn.
    """
    places = {taught.id: _hash(taught.id) for taught in lessons}
    own = sorted(_with_something_own(lessons), key=places.__getitem__)
    gate = {*own[:FEWEST], *(id for id, place in places.items() if place <= HELD_OUT)}
    others = sorted({places[taught.id] for taught in lessons if taught.has_response and taught.id not in gate})
    validation = max(2 * HELD_OUT, *others[:FEWEST_VALIDATION])
    where = {
        id: "test" if id in gate else "validation" if place <= validation else "train" for id, place in places.items()
    }
    return {name: [taught for taught in lessons if where[taught.id] == name] for name in SPLITS}


def _with_something_own(lessons: Sequence[Taught]) -> set[str]:
    """The conversations that have something to judge by, even if all others are learned."""
    found = [one for taught in lessons for one in _exchanges(taught)]
    owners = [one.taught.id for one in found]
    is_own_question = are_own([one.question for one in found], owners)
    is_own_pair = are_own([one.pair for one in found], owners)
    return {
        one.taught.id
        for one, question, pair in zip(found, is_own_question, is_own_pair, strict=True)
        if (question if one.taught.is_trusted else pair)
    }


def _unseen(test: Iterable[Taught], train: Iterable[Taught]) -> list[Taught]:
    """The lessons, with weight only where nothing that is nearly the same is learned."""
    learned = [one for taught in train for one in _exchanges(taught)]
    questions, pairs = NearCopies(one.question for one in learned), NearCopies(one.pair for one in learned)

    def is_seen(one: _Exchange) -> bool:
        return questions.holds(one.question) if one.taught.is_trusted else pairs.holds(one.pair)

    return [_weighing(taught, (one for one in _exchanges(taught) if not is_seen(one))) for taught in test]


def _with_questions_held_out(parts: Parts, count: int) -> Parts:
    """Give up to `count` questions of trusted logs to the gate, each with the dialogue that asks it first. Wherever
    else they are asked, they become context."""
    of_dialogues: dict[str, _Exchange] = {}
    for one in _questions_to_spare(parts["train"]):
        of_dialogues.setdefault(one.taught.id, one)
    chosen = list(of_dialogues.values())[:count]
    held_out = NearCopies(one.question for one in chosen)

    def without(taught: Taught) -> Taught:
        places = {one.place for one in _exchanges(taught) if held_out.holds(one.question)}
        weights = (CONTEXT_ONLY if place in places else weight for place, weight in enumerate(taught.weights))
        return replace(taught, weights=tuple(weights))

    left = {name: list(map(without, parts[name])) for name in ("train", "validation")}
    left = {name: [taught for taught in part if taught.teaches] for name, part in left.items()}
    return left | {"test": [*parts["test"], *(_weighing(one.taught, [one]) for one in chosen)]}


def _questions_to_spare(train: Sequence[Taught]) -> list[_Exchange]:
    """Return, with the place where it is asked first, each question of trusted logs that may be held out: it always
    has the same answer, and enough other wordings ask for that answer.

    Of the questions with one answer the rarest comes first, as least is lost with it. The first of each answer comes
    before the second of any answer.
    """
    found = [one for taught in train if taught.is_trusted for one in _exchanges(taught)]
    asked, answered = kinds([one.question for one in found]), kinds([one.answer for one in found])
    times = Counter(asked)
    first: dict[int, _Exchange] = {}
    answers: defaultdict[int, set[int]] = defaultdict(set)
    wordings: defaultdict[int, set[int]] = defaultdict(set)
    for one, question, answer in zip(found, asked, answered, strict=True):
        first.setdefault(question, one)
        answers[question].add(answer)
        wordings[answer].add(question)
    ranked = []
    for questions in wordings.values():
        of_one_answer = [question for question in questions if len(answers[question]) == 1]
        of_one_answer.sort(key=lambda question: (times[question], _hash(first[question].question)))
        ranked += list(enumerate(of_one_answer[: len(questions) // SPARED]))
    ranked.sort(key=lambda one: (one[0], _hash(first[one[1]].question)))
    return [first[question] for _, question in ranked]


def _hash(text: str) -> float:
    """From 0 to 1."""
    return int(sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def _alone(taught: Taught) -> Iterator[Taught]:
    """Each response to learn that has a longer context, with the utterance it answers only."""
    for one in _exchanges(taught):
        if one.place > 1:
            pair = slice(one.place - 1, one.place + 1)
            yield replace(taught, utterances=taught.utterances[pair], weights=(CONTEXT_ONLY, taught.weights[one.place]))


def _write_store(folder: Path, part: Iterable[Taught], vocabulary: Vocabulary) -> None:
    with StoreWriter(folder, weighted=True) as writer:
        for taught in part:
            utterances = [vocabulary.encode(text) for text in taught.utterances]
            tokens = np.array([id for ids in utterances for id in ids], np.int32)
            lengths = np.array([len(ids) for ids in utterances])
            writer.extend(tokens, lengths, np.array([len(utterances)]), np.array(taught.weights))
