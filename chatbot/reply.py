"""What the engine is asked and what it answers. Knows no model: whoever only speaks of replies loads no torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from chatbot.decoding import DecodingConfig

CONTEXT_TURNS = 10  # a state is rebuilt from at most as many turns

Status = Literal["completed", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class DialogueState:
    """What a checkpoint remembers of a dialogue: S float32 values, little-endian."""

    vector: bytes
    checkpoint: str


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """The user's utterance and what was said before it: the state, or the texts to rebuild it from, oldest first.

    The texts are used where the state is missing or of another checkpoint, and to keep replies from repeating them.
    Those `beside` were given to the same utterance before: who asks for another reply does not want one of them.
    """

    utterance: str
    context: tuple[str, ...] = ()
    state: DialogueState | None = None
    decoding: "DecodingConfig | None" = None
    seed: int | None = None
    beside: tuple[str, ...] = ()
    is_trial: bool = False  # for somebody who looks inside: nobody counts it, and beams come as a tree


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of those that a reply was chosen among, with its score and what that is made of (`chatbot.decoding.Rated`).

    log p(y|s) and log p(y) in nats; `log_prior` is 0 where it does not count.
    """

    text: str
    score: float
    log_probability: float
    log_prior: float
    relevance: float
    repetition: float
    is_retrieved: bool


@dataclass(frozen=True, slots=True)
class Word:
    """A word that a search followed, its probability after those before it, and what it followed from there."""

    word: str
    probability: float
    children: list["Word"]


@dataclass(frozen=True, slots=True)
class Reply:
    """`state_before` is the state after the user's utterance, `state_after` the one after the reply.

    Either is None where the reply ended before it was known. `is_retrieved` marks words that somebody said elsewhere.
    `candidates`, the best first, is what it was chosen among; empty where there was no choice. `tree` is of a trial's
    beam search.
    """

    text: str
    status: Status
    checkpoint: str
    state_before: DialogueState | None = None
    state_after: DialogueState | None = None
    is_retrieved: bool = False
    candidates: tuple[Candidate, ...] = ()
    tree: Word | None = None
