"""What the engine is asked and what it answers. Knows no model: whoever only speaks of replies loads no torch."""

from dataclasses import dataclass, field
from typing import Literal

CONTEXT_TURNS = 20  # utterances from which a lost state is rebuilt, and facts are taken

Status = Literal["completed", "stopped", "failed"]
Method = Literal["greedy", "beam", "sample"]
# Where a candidate comes from: the network, the first sentence of a longer candidate of it, a conversation that was
# written for the chatbot, or a corpus of what people said.
Source = Literal["decoded", "shortened", "written", "retrieved"]


class EngineUnavailable(RuntimeError):
    """The engine takes no request now: it is not running, is closing, or has too many waiting."""


@dataclass(frozen=True, slots=True)
class DecodingConfig:
    """How a reply is looked for and, where there are several candidates, chosen (see `chatbot.decoding.ranking.Rated`).

    Raises ValueError where a value is impossible.
    """

    method: Method = "sample"
    beam_size: int = 5
    length_penalty: float = 0.75  # log p is divided by (length ** length_penalty); 0 compares plain log p
    temperature: float = 1.0
    top_k: int = 0  # sample among the k likeliest tokens; 0: among all
    top_p: float = 1.0  # and among the fewest of them that hold this share of the probability
    candidates: int = 1  # samples drawn for one reply
    written: int = 0  # responses of the checkpoint's own conversations that stand beside them, where it has a chooser
    retrieved: int = 0  # human responses that stand beside them, where the checkpoint has an index of some
    retrieved_margin: float = 0.0  # by this much their score must be higher than that of a candidate of its own
    retrieved_relevance: float = 0.0  # and none that is less relevant than this is taken
    mmi_lambda: float = 0.0  # weight of log p(y), so that a reply that would fit anywhere counts for less
    relevance_weight: float = 0.0
    repetition_weight: float = 0.0
    itself_margin: float = 0.0  # by this much a reply in which the network speaks of itself must be better than others
    recall_margin: float = 0.0  # this is added where a reply tells a fact that the person told and asks for
    specific_weight: float = 0.5  # of being specific beside being sensible, where the checkpoint has a chooser
    no_repeat_ngram: int = 3  # no n tokens in a row twice within a reply, nor one token twice running; 0 allows both
    closing_mark: bool = False  # where a reply would end without . ! or ? it gets the likeliest of them
    min_tokens: int = 1
    max_tokens: int = 40

    def __post_init__(self) -> None:
        demands = {
            "method must be greedy, beam or sample": self.method in ("greedy", "beam", "sample"),
            "beam_size and candidates must be at least 1": min(self.beam_size, self.candidates) >= 1,
            "several candidates are drawn by method sample only": self.candidates == 1 or self.method == "sample",
            "written and retrieved must not be negative, and need method sample": self.written == self.retrieved == 0
            or (min(self.written, self.retrieved) >= 0 and self.method == "sample"),
            "temperature must be above 0": self.temperature > 0,
            "top_k and no_repeat_ngram must not be negative": min(self.top_k, self.no_repeat_ngram) >= 0,
            "top_p must be above 0 and at most 1": 0 < self.top_p <= 1,
            "length_penalty must not be negative": self.length_penalty >= 0,
            "1 <= min_tokens <= max_tokens must hold": 1 <= self.min_tokens <= self.max_tokens,
        }
        for demand, holds in demands.items():
            if not holds:
                raise ValueError(demand)

    @property
    def is_single_path(self) -> bool:
        """Whether the first token decoded is sure to be the reply's first token."""
        return self.method == "greedy" or (
            self.method == "sample" and self.candidates == 1 and not self.written and not self.retrieved
        )

    @property
    def follows_prior(self) -> bool:
        """Whether log p(y) is needed, which costs a second row for each hypothesis."""
        return self.mmi_lambda != 0 and not self.is_single_path

    @property
    def breadth(self) -> int:
        """How many of the likeliest tokens after a hypothesis can matter; 0: all."""
        return {"greedy": 1, "beam": 2 * self.beam_size, "sample": self.top_k}[self.method]


GREEDY = DecodingConfig(method="greedy")
DEFAULT = DecodingConfig(  # found by benchmarks/tune_decoding.py, the temperature by reading (docs/evaluation.md)
    candidates=10,
    written=12,
    retrieved=2,
    retrieved_margin=0.5,
    retrieved_relevance=8.0,
    temperature=0.8,
    top_k=40,
    top_p=0.95,
    length_penalty=1.0,
    mmi_lambda=0.6,
    relevance_weight=0.5,
    repetition_weight=3.0,
    itself_margin=0.6,
    recall_margin=0.4,
    closing_mark=True,
    min_tokens=3,
)


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
    decoding: DecodingConfig | None = None
    seed: int | None = None
    beside: tuple[str, ...] = ()
    is_trial: bool = False  # for somebody who looks inside: nobody counts it, and beams come as a tree


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of those that a reply was chosen among, with its score and its parts (`chatbot.decoding.ranking.Rated`).

    log p(y|s), log p(y) (in nats) and relevance are 0 where they do not count. `sensible` and `specific` are the
    probabilities that the checkpoint's chooser gives; None where it has none.
    """

    text: str
    score: float
    log_probability: float
    log_prior: float
    relevance: float
    repetition: float
    sensible: float | None
    specific: float | None
    source: Source


@dataclass(frozen=True, slots=True)
class Word:
    """A word that a search followed, its probability after those before it, and what it followed from there."""

    word: str
    probability: float
    children: list["Word"]


@dataclass(frozen=True, slots=True)
class Reply:
    """`state_before` is the state after the user's utterance, `state_after` the one after the reply.

    Either is None where the reply ended before it was known. `is_retrieved` marks words that somebody said elsewhere,
    `guarded` is the category of an utterance that got a fixed answer (see chatbot.safety); its states are not known.
    `candidates`, the best first, is what it was chosen among; empty where there was no choice. `tree` is of a trial's
    beam search. `batch` is the most replies that were written at once while it was, `waited` its seconds in line.
    """

    text: str
    status: Status
    checkpoint: str
    state_before: DialogueState | None = None
    state_after: DialogueState | None = None
    is_retrieved: bool = False
    guarded: str | None = None
    candidates: tuple[Candidate, ...] = ()
    tree: Word | None = None
    batch: int = field(default=0, compare=False)
    waited: float = field(default=0.0, compare=False)
