"""What may be learned from conversations and logs: which utterances are responses to learn, and how much each counts.

Of the bot's own replies only those that a person approved, or what a person would rather have read: trained on its own
unchecked words, a model grows dull. What a person disliked is trained against. People's utterances are what is replied
to and no more; else whoever says a thing often enough could make the bot say it. In the log of another system the
assistant's utterances are trusted; in one that knows no roles everybody's.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from chatbot.history import Lesson, LessonTurn
from data.cleaning import MAX_CHARACTERS, normalise
from data.contacts import without_brackets
from data.corpus import Corpus, DocumentError
from data.formats.dialogue import Dialogue
from data.formats.reader import DialogueReader
from data.preparation import fit_runs
from data.privacy import is_profane, personal, without_personal

KNOWN_ROLES = {"user", "assistant"}
APPROVED, CONTEXT_ONLY, DISLIKED = 1.0, 0.0, -0.5


@dataclass(frozen=True, slots=True)
class Taught:
    """A dialogue to learn from: its utterances, and how much each counts as a response (see data.store)."""

    id: str
    person: str | None  # whose conversation it was, where that is known
    source: str
    utterances: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def is_trusted(self) -> bool:
        """Whether it comes from another system's log."""
        return self.person is None

    @property
    def teaches(self) -> bool:
        return any(self.weights[1:])

    @property
    def has_response(self) -> bool:
        """Whether it says something to learn, and not just what to learn against."""
        return any(weight > 0 for weight in self.weights[1:])


def of_conversation(lesson: Lesson, unchecked: bool = False) -> Iterator[Taught]:
    """What a stored conversation teaches; each reply that a person would rather have read ends a dialogue of its own.

    With `unchecked`, replies nobody rated count as approved; what was retrieved from a corpus never does. Of fixed
    answers (see chatbot.safety) nothing is learned, and to what got one no other reply.
    """
    texts = tuple(turn.text for turn in lesson.turns)
    weights = tuple(_weight(turn, unchecked) for turn in lesson.turns)
    whole = Taught(lesson.conversation_id, lesson.user_id, "conversations", texts, weights)
    if whole.teaches:
        yield whole
    for place, turn in enumerate(lesson.turns):
        if turn.speaker == "bot" and turn.better_text and place and not turn.guarded:
            before = CONTEXT_ONLY, *[CONTEXT_ONLY] * (place - 1)
            yield replace(whole, utterances=(*texts[:place], turn.better_text), weights=(*before, APPROVED))


def _weight(turn: LessonTurn, unchecked: bool) -> float:
    if turn.speaker == "user" or turn.guarded:
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


def read_logs(paths: Iterable[Path], dropped: Counter[str], skipped: list[str]) -> Iterator[Dialogue]:
    """The dialogues of files or folders of logs in any known format; `skipped` says which could not be read and why,
    and which name roles that are not known."""
    reader, unknown = DialogueReader(), dict[str, Counter[str]]()
    for document in Corpus(list(paths), lambda name, reason: skipped.append(f"{name}: {reason}")).documents():
        try:
            for one in reader.read(document):
                for dialogue in [one] if isinstance(one, Dialogue) else one.dialogues(dropped):
                    roles = (role for role in dialogue.roles or () if role not in KNOWN_ROLES)
                    unknown.setdefault(document.name, Counter()).update(roles)
                    yield dialogue
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


def cleaned(taught: Taught, dropped: Counter[str], contacts: Container[str] = ()) -> Iterator[Taught]:
    """The unbroken runs of fit utterances, without personal data; a response that held some, or that is profane, is
    not to be learned. `contacts` (see data.contacts) are left in a log, and learned."""
    kept = contacts if taught.is_trusted else ()
    said = tuple(text[: MAX_CHARACTERS + 1] for text in taught.utterances)  # enough to be too long
    said = tuple(map(without_brackets, said)) if kept else said
    weights = [_learnable(*one, kept, dropped) for one in zip(said, taught.weights, strict=True)]
    for run in fit_runs(map(without_personal, said), dropped):
        places = [place for place, _ in run]
        yield replace(
            taught,
            utterances=tuple(normalise(without_personal(said[place], kept)) for place in places),
            weights=tuple(weights[place] for place in places),
        )


def _learnable(text: str, weight: float, kept: Container[str], dropped: Counter[str]) -> float:
    """What an utterance weighs after a look at what it says."""
    if weight <= 0:
        return weight
    faults = {"personal data": bool(personal(text, kept)), "profanity": is_profane(text)}
    found = next((reason for reason, holds in faults.items() if holds), None)
    if found is None:
        return weight
    dropped[found] += 1
    return CONTEXT_ONLY
