"""What may be learned from conversations and logs: which utterances are responses to learn, and how much each counts;
and those as token stores.

Of the bot's own replies only those that a person approved, or what a person would rather have read: trained on its own
unchecked words, a model grows dull. What a person disliked is trained against. People's utterances are what is replied
to and no more; else whoever says a thing often enough could make the bot say it. In the log of another system the
assistant's utterances are trusted; in one that knows no roles everybody's.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from chatbot.history import Lesson, LessonTurn
from data.corpus import Corpus, DocumentError
from data.curation import NearCopies, pairs_of
from data.formats.dialogue import Dialogue
from data.formats.reader import DialogueReader
from data.preparation import fit_runs
from data.privacy import is_profane, personal, without_personal
from data.store import StoreWriter
from data.tokenizer import detokenise
from data.vocabulary import Vocabulary
from training.gate import FEWEST

KNOWN_ROLES = {"user", "assistant"}
APPROVED, CONTEXT_ONLY, DISLIKED = 1.0, 0.0, -0.5
SPLITS = ("train", "validation", "test")
HELD_OUT = 0.05  # of the conversations, to judge the training by, and again for the gate
FEWEST_VALIDATION = 3  # conversations, where 5 % would be fewer; of the gate's, what it asks for


@dataclass(frozen=True, slots=True)
class Taught:
    """A dialogue to learn from: its utterances, and how much each counts as a response (see data.store)."""

    id: str
    person: str | None  # whose conversation it was, where that is known
    source: str
    utterances: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def teaches(self) -> bool:
        return any(self.weights[1:])

    @property
    def has_response(self) -> bool:
        """Whether it says something to learn, and not just what to learn against."""
        return any(weight > 0 for weight in self.weights[1:])


def of_conversation(lesson: Lesson, unchecked: bool = False) -> Iterator[Taught]:
    """What a stored conversation teaches; each reply that a person would rather have read ends a dialogue of its own.

    With `unchecked`, replies nobody rated count as approved; what was retrieved from a corpus never does.
    """
    texts = tuple(turn.text for turn in lesson.turns)
    weights = tuple(_weight(turn, unchecked) for turn in lesson.turns)
    whole = Taught(lesson.conversation_id, lesson.user_id, "conversations", texts, weights)
    if whole.teaches:
        yield whole
    for place, turn in enumerate(lesson.turns):
        if turn.speaker == "bot" and turn.better_text and place:
            before = CONTEXT_ONLY, *[CONTEXT_ONLY] * (place - 1)
            yield replace(whole, utterances=(*texts[:place], turn.better_text), weights=(*before, APPROVED))


def _weight(turn: LessonTurn, unchecked: bool) -> float:
    if turn.speaker == "user":
        return CONTEXT_ONLY
    if turn.rating < 0:
        return DISLIKED
    liked = turn.rating > 0 or (unchecked and not turn.better_text)
    return APPROVED if liked and not turn.better_text and not turn.is_retrieved else CONTEXT_ONLY


def of_log(dialogue: Dialogue) -> Taught:
    """What a dialogue of another system's log teaches: its assistant's utterances or, without roles, everybody's.

    Those that the log keeps from being learned, and those of a role that is not known, are context.
    """
    roles = dialogue.roles or ("assistant",) * len(dialogue.utterances)
    wanted = dialogue.weights or (APPROVED,) * len(dialogue.utterances)
    weights = tuple(
        APPROVED if role == "assistant" and weight else CONTEXT_ONLY for role, weight in zip(roles, wanted, strict=True)
    )
    return Taught(dialogue.id, None, dialogue.source, dialogue.utterances, weights)


def read_logs(paths: Iterable[Path], dropped: Counter[str], skipped: list[str]) -> Iterator[Taught]:
    """The dialogues of files or folders of logs in any known format; `skipped` says which could not be read and why,
    and which name roles that are not known."""
    reader, unknown = DialogueReader(), dict[str, Counter[str]]()
    for document in Corpus(list(paths), lambda name, reason: skipped.append(f"{name}: {reason}")).documents():
        try:
            for one in reader.read(document):
                for dialogue in [one] if isinstance(one, Dialogue) else one.dialogues(dropped):
                    roles = (role for role in dialogue.roles or () if role not in KNOWN_ROLES)
                    unknown.setdefault(document.name, Counter()).update(roles)
                    yield of_log(dialogue)
        except DocumentError as error:
            skipped.append(f"{document.name}: {error}")
    skipped += [f"{name}: {reason}" for name, reason in reader.left_over()]
    skipped += reader.unread_lines()
    skipped += [_unknown_roles(name, roles) for name, roles in unknown.items() if roles]
    if count := sum(map(Counter.total, unknown.values())):
        dropped["unknown role"] += count
    for reasons in reader.dropped.values():
        dropped.update(reasons)


def _unknown_roles(name: str, roles: Counter[str]) -> str:
    named = ", ".join(f"{role} {count:,}" for role, count in roles.most_common(3))
    return f"{name}: nothing is learned of roles that are not known (utterances: {named}); call them user or assistant"


def cleaned(taught: Taught, dropped: Counter[str]) -> Iterator[Taught]:
    """The unbroken runs of fit utterances, without personal data; a response that held some, or that is profane, is
    not to be learned."""
    masked = tuple(map(without_personal, taught.utterances))
    weights = [_learnable(*one, dropped) for one in zip(taught.utterances, taught.weights, strict=True)]
    for run in fit_runs(masked, dropped):
        places, texts = zip(*run, strict=True)
        yield replace(
            taught,
            utterances=tuple(map(detokenise, texts)),
            weights=tuple(weights[place] for place in places),
        )


def _learnable(text: str, weight: float, dropped: Counter[str]) -> float:
    """What an utterance weighs after a look at what it says."""
    if weight <= 0:
        return weight
    faults = {"personal data": bool(personal(text)), "profanity": is_profane(text)}
    found = next((reason for reason, holds in faults.items() if holds), None)
    if found is None:
        return weight
    dropped[found] += 1
    return CONTEXT_ONLY


def write_stores(folder: Path, lessons: Sequence[Taught], vocabulary: Vocabulary) -> dict[str, int]:
    """The lessons by split -> how many. Nothing is judged by what is disliked, nor in the gate by copies of what was
    learned. What is learned is learned out of the blue as well, for so most conversations begin."""
    parts = _split(lessons)
    sizes = {split: len(part) for split, part in parts.items()}
    learned = NearCopies(pair for taught in parts["train"] for _, pair in _pairs(taught))
    parts["train"] += [alone for taught in parts["train"] for alone in _alone(taught)]
    to_judge = {"validation": NearCopies([]), "test": learned}
    for split, part in parts.items():
        judged = [_judged(taught, to_judge[split]) for taught in part] if split in to_judge else part
        _write_store(folder / split, [_encoded(taught, vocabulary) for taught in judged])
    return sizes


def _alone(taught: Taught) -> Iterator[Taught]:
    """Each response to learn that has a longer context, with the utterance it answers only."""
    for place in range(2, len(taught.utterances)):
        if taught.weights[place] > 0:
            pair = slice(place - 1, place + 1)
            yield replace(taught, utterances=taught.utterances[pair], weights=(CONTEXT_ONLY, taught.weights[place]))


def _pairs(taught: Taught) -> Iterator[tuple[int, str]]:
    """The place of each response to learn, and it with what it answers, as a text for `NearCopies`."""
    for place, pair in enumerate(pairs_of(taught.utterances), start=1):
        if taught.weights[place] > 0:
            yield place, pair


def _judged(taught: Taught, learned: NearCopies) -> Taught:
    weights = [CONTEXT_ONLY] * len(taught.weights)
    for place, pair in _pairs(taught):
        if not learned.holds(pair):
            weights[place] = taught.weights[place]
    return replace(taught, weights=tuple(weights))


Encoded = tuple[list[list[int]], np.ndarray]  # ids and weights of a dialogue's utterances


def _split(lessons: Sequence[Taught]) -> dict[str, list[Taught]]:
    """By the hash of the conversation, so that nothing is judged by what an earlier retraining learned from.

    Where that holds out too few with something to learn, those of the next hashes are held out as well. Takes as many
    as both parts need, and one.
    """
    places = {taught.id: int(sha256(taught.id.encode()).hexdigest()[:8], 16) / 2**32 for taught in lessons}
    judging = sorted({places[taught.id] for taught in lessons if taught.has_response})
    test = max(HELD_OUT, judging[FEWEST - 1])
    others = [place for place in judging if place > test]
    validation = max(2 * HELD_OUT, others[FEWEST_VALIDATION - 1])
    split = {
        id: "test" if place <= test else "validation" if place <= validation else "train"
        for id, place in places.items()
    }
    return {name: [taught for taught in lessons if split[taught.id] == name] for name in SPLITS}


def _encoded(taught: Taught, vocabulary: Vocabulary) -> Encoded:
    return [vocabulary.encode(text) for text in taught.utterances], np.array(taught.weights)


def _write_store(folder: Path, dialogues: Iterable[Encoded]) -> None:
    with StoreWriter(folder, weighted=True) as writer:
        for utterances, weights in dialogues:
            tokens = np.array([id for ids in utterances for id in ids], np.int32)
            writer.extend(tokens, np.array([len(ids) for ids in utterances]), np.array([len(utterances)]), weights)
