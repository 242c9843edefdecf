"""What of many dialogues may be learned, judged over all of them: floods, copies, and copies of what is held out.

A wording that people bring in masses is an attack, or something the model says already: none of it is learned, nor of
its variants, which have another word in a place, or one more or less. What everybody says to everything is capped:
first come the different utterances that it answers. A trusted log may repeat its answers: each is learned for every
different utterance that it answers, and weighs less the more of them there are, so that no answer dominates. What is
alike is found exactly, by prefix filtering (Bayardo, Ma and Srikant, 2007, "Scaling up all pairs similarity search").
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil, sqrt
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import regex

LIKE = 0.7  # the Jaccard index of words and pairs of words from which two texts are near copies
CONTEXT_UTTERANCES = 8
MAX_FORBIDDEN = 50
_COPY = "copy of the validation set"

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}']+")
# What anybody may say to anything, and many do: of these no number of copies is a flood.
_COMMONPLACES = frozenset(
    regex.split(
        r"\s*\|\s*",
        """yes|no|yeah|nope|ok|okay|sure|right|exactly|great|good|nice|cool|fine|thanks|thank you|thanks a lot
        |thank you very much|you're welcome|you are welcome|welcome|no problem|my pleasure|of course|certainly|hi|hello
        |hey|hi there|hello there|good morning|good evening|good afternoon|good night|bye|goodbye|bye bye|see you
        |see you later|see you soon|take care|have a nice day|have a good day|how are you|i am fine|i'm fine|fine thanks
        |and you|what about you|me too|you too|i don't know|i do not know|i see|i agree|i think so|why|why not|what
        |really|sorry|i'm sorry|please|how can i help|how can i help you|how may i help you|can i help you
        |anything else|is there anything else""",
    )
)


@dataclass(frozen=True, slots=True)
class Example:
    """One response to learn (or, of negative weight, to learn against) after its context, and who brought it.

    `user` is whoever approved or wrote it; None where nobody is known, as in the log of another system, which is
    trusted.
    """

    context: tuple[str, ...]
    response: str
    user: str | None
    weight: float
    conversation: str

    @property
    def pair(self) -> str:
        """What is compared with the pairs of a validation set."""
        return _pair(self.context[-1] if self.context else "", self.response)


@dataclass(frozen=True, slots=True)
class Caps:
    """How many copies, near copies among them, are learned at most."""

    pair: int = 3  # of one response to one utterance; in a trusted log, to one in the same words
    wording: int = 30  # of one response to whatever utterances; a trusted log's weigh less from here on
    flood: int = 50  # of one response that people brought, with its variants; of more none is learned
    user: int = 200  # responses that one user brought


class Weighted(Protocol):
    """A dialogue as a dataclass: what each utterance counts as a response, and whose conversation it was."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def id(self) -> str: ...
    @property
    def person(self) -> str | None: ...
    @property
    def utterances(self) -> tuple[str, ...]: ...
    @property
    def weights(self) -> tuple[float, ...]: ...


T = TypeVar("T", bound=Weighted)


@dataclass(slots=True)
class Curated(Generic[T]):
    """The dialogues with the weights that are left, and of each flood what must not become a reply to what."""

    lessons: list[T]
    forbidden: list[dict[str, Any]] = field(default_factory=list)


def pairs_of(utterances: Sequence[str]) -> Iterator[str]:
    """Each utterance of a dialogue with the next, as texts for `NearCopies`."""
    return map(_pair, utterances, utterances[1:])


def curate(
    lessons: Iterable[T], dropped: Counter[str], caps: Caps | None = None, held_out: "NearCopies | None" = None
) -> Curated[T]:
    """The dialogues in their order; what may not be learned of them weighs nothing any more and is context.

    Of an answer that a trusted log gives n times, where n is more than `caps.wording`, each copy weighs by the square
    root of `caps.wording / n`: together they weigh more than those of a rarer answer, but not n times as much.
    """
    lessons = list(lessons)
    places, examples = [], []
    for number, lesson in enumerate(lessons):
        for place, example in _examples(lesson.id, lesson.person, lesson.utterances, lesson.weights):
            places.append((number, place))
            examples.append(example)
    caps = caps or Caps()
    said = _said(examples)
    faults = _faults(examples, said, caps)
    for number, example in enumerate(examples):
        if held_out and faults[number] is None and held_out.holds(example.pair):
            faults[number] = _COPY
    dropped.update(fault for fault in faults if fault)
    weights = [list(lesson.weights) for lesson in lessons]
    for (number, place), share in zip(places, _shares(examples, said, faults, caps.wording), strict=True):
        weights[number][place] *= share
    left = [replace(lesson, weights=tuple(some)) for lesson, some in zip(lessons, weights, strict=True)]
    return Curated(left, _forbidden(examples, faults))


class NearCopies:
    """Finds texts that are nearly among the given ones; words and their order count, case and punctuation do not."""

    def __init__(self, texts: Iterable[str]) -> None:
        known = dict.fromkeys(map(_wording, texts))
        self._index = _Index(known, _COPIES)
        for wording in known:
            self._index.add(wording)

    def holds(self, text: str) -> bool:
        return self._index.find(_wording(text)) is not None


def kinds(texts: Sequence[str]) -> list[int]:
    """A number for each text, the same for near copies of the first of them."""
    return _kinds(texts, _COPIES)


def are_own(texts: Sequence[str], owners: Sequence[str]) -> list[bool]:
    """Whether a text has near copies among its owner's texts only, for each text."""
    wordings = [_wording(text) for text in texts]
    owners_of: defaultdict[str, set[str]] = defaultdict(set)
    for wording, owner in zip(wordings, owners, strict=True):
        owners_of[wording].add(owner)
    index = _Index(owners_of, _COPIES)
    for wording in owners_of:
        index.add(wording)
    own = {
        wording: len(of_it) == 1 and all(owners_of[other] == of_it for other in index.alike(wording))
        for wording, of_it in owners_of.items()
    }
    return [own[wording] for wording in wordings]


class _Likeness(NamedTuple):
    """When two wordings are alike, by their pieces."""

    pieces: Callable[[str], set[str]]
    fewest: Callable[[int], int]  # of n pieces, how many what is alike must share
    holds: Callable[[set[str], set[str]], bool]


class _Index:
    """Wordings by their rarest pieces: of two that are alike, these share at least one.

    Where y must share m of the n pieces of x, one of any n - m + 1 of them is among y's; and if these are the first in
    one order of all pieces, it is among the first of y, too.
    """

    def __init__(self, wordings: Iterable[str], likeness: _Likeness) -> None:
        self._likeness = likeness
        self._counts: Counter[str] = Counter()
        for wording in wordings:
            self._counts.update(likeness.pieces(wording))
        self._exact: dict[str, int] = {}
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        self._wordings: list[str] = []

    def add(self, wording: str) -> int:
        """Its number, from 0."""
        number = len(self._wordings)
        self._exact[wording] = number
        self._wordings.append(wording)
        for piece in self._rarest(self._likeness.pieces(wording)):
            self._places[piece].append(number)
        return number

    def find(self, wording: str) -> int | None:
        """The number of the first one that is alike, or the wording's own."""
        if wording in self._exact:
            return self._exact[wording]
        pieces = self._likeness.pieces(wording)
        candidates = {number for piece in self._rarest(pieces) for number in self._places.get(piece, ())}
        return next((number for number in sorted(candidates) if self._is_like(pieces, number)), None)

    def alike(self, wording: str) -> Iterator[str]:
        """All that are alike, the wording itself among them, some of them more than once."""
        pieces = self._likeness.pieces(wording)
        for piece in self._rarest(pieces):
            for number in self._places.get(piece, ()):
                if self._is_like(pieces, number):
                    yield self._wordings[number]

    def _rarest(self, pieces: set[str]) -> list[str]:
        in_order = sorted(pieces, key=lambda piece: (self._counts[piece], piece))
        return in_order[: len(pieces) - self._likeness.fewest(len(pieces)) + 1]

    def _is_like(self, pieces: set[str], number: int) -> bool:
        return self._likeness.holds(pieces, self._likeness.pieces(self._wordings[number]))


def _examples(
    conversation: str, user: str | None, utterances: tuple[str, ...], weights: tuple[float, ...]
) -> Iterator[tuple[int, Example]]:
    """Every utterance but the first that counts as a response, with its place."""
    for place in range(1, len(utterances)):
        if weights[place]:
            context = utterances[max(0, place - CONTEXT_UTTERANCES) : place]
            yield place, Example(context, utterances[place], user, weights[place], conversation)


# What a response says, as a number, and whether that is to be learned against; the two are counted apart.
_Said = tuple[int, bool]


def _said(examples: Sequence[Example]) -> list[_Said]:
    responses = kinds([example.response for example in examples])
    return [(kind, example.weight < 0) for kind, example in zip(responses, examples, strict=True)]


def _faults(examples: Sequence[Example], said: Sequence[_Said], caps: Caps) -> list[str | None]:
    """Why each example may not be learned, or None where it may."""
    faults = _floods(examples, caps)
    _find_copies(faults, examples, said, caps)
    brought: Counter[str] = Counter()
    for place, example in enumerate(examples):
        if faults[place] is None and example.user is not None:
            brought[example.user] += 1
            if brought[example.user] > caps.user:
                faults[place] = "too much of one user"
    return faults


def _shares(
    examples: Sequence[Example], said: Sequence[_Said], faults: Sequence[str | None], wording: int
) -> Iterator[float]:
    """How much of its weight each example keeps: nothing where it has a fault (see `curate`)."""
    learned = [example.user is None and fault is None for example, fault in zip(examples, faults, strict=True)]
    counts = Counter(one for one, is_learned in zip(said, learned, strict=True) if is_learned)
    for one, is_learned, fault in zip(said, learned, faults, strict=True):
        yield 0.0 if fault else sqrt(min(1.0, wording / counts[one])) if is_learned else 1.0


def _floods(examples: Sequence[Example], caps: Caps) -> list[str | None]:
    """Which of the examples that people brought are of a wording, or a variant, that they brought in masses."""
    places = [
        place
        for place, example in enumerate(examples)
        if example.user is not None and _wording(example.response) not in _COMMONPLACES
    ]
    variants = _kinds([examples[place].response for place in places], _VARIANTS)
    said = [(kind, examples[place].weight < 0) for place, kind in zip(places, variants, strict=True)]
    counts = Counter(said)
    flooded = {place for place, one in zip(places, said, strict=True) if counts[one] > caps.flood}
    return ["flood" if place in flooded else None for place in range(len(examples))]


def _find_copies(faults: list[str | None], examples: Sequence[Example], said: Sequence[_Said], caps: Caps) -> None:
    """Adds the copies to the faults. A wording's first answers to different utterances go before its second ones.

    What people brought and what trusted logs say is counted apart.
    """
    of_pair: Counter[tuple[_Said, str | int]] = Counter()
    copies = []
    for place, pair in enumerate(zip(said, _asked(examples), strict=True)):
        if faults[place] is None:
            of_pair[pair] += 1
            copies.append((of_pair[pair], place))
    of_wording: Counter[_Said] = Counter()
    for copy, place in sorted(copies):
        if copy > caps.pair:
            faults[place] = "duplicate"
        elif examples[place].user is not None:
            of_wording[said[place]] += 1
            if of_wording[said[place]] > caps.wording:
                faults[place] = "said too often"


def _asked(examples: Sequence[Example]) -> list[str | int]:
    """What each example answers, the same for copies: of what people brought near ones, of a log only those in the same
    words, as each other wording of a question is worth learning."""
    last = [example.context[-1] if example.context else "" for example in examples]
    near = kinds(last)
    return [
        _wording(text) if example.user is None else kind
        for text, kind, example in zip(last, near, examples, strict=True)
    ]


def _forbidden(examples: Sequence[Example], faults: Sequence[str | None]) -> list[dict[str, Any]]:
    """One example of each wording that came as a flood, the commonest first; but not of what is learned all the same,
    from a trusted log."""
    learned = NearCopies(
        one.response for one, fault in zip(examples, faults, strict=True) if fault is None and one.weight > 0
    )
    floods = [one for one, fault in zip(examples, faults, strict=True) if fault == "flood" and one.weight > 0]
    counts = Counter(_wording(one.response) for one in floods)
    first = {_wording(one.response): one for one in reversed(floods)}
    wordings = [wording for wording, _ in counts.most_common() if not learned.holds(wording)]
    return [
        {"context": list(first[wording].context), "response": first[wording].response}
        for wording in wordings[:MAX_FORBIDDEN]
    ]


def _kinds(texts: Sequence[str], likeness: _Likeness) -> list[int]:
    """A number for each text, the same for texts that are like the first of them."""
    wordings = [_wording(text) for text in texts]
    index = _Index(dict.fromkeys(wordings), likeness)
    numbers: dict[str, int] = {}
    for wording in wordings:
        if wording not in numbers:
            found = index.find(wording)
            numbers[wording] = index.add(wording) if found is None else found
    return [numbers[wording] for wording in wordings]


def _pair(before: str, response: str) -> str:
    return f"{before}\n{response}"


def _wording(text: str) -> str:
    """The words of a text; of one without words, itself."""
    return " ".join(_WORD.findall(text.lower())) or text.strip()


def _words(wording: str) -> set[str]:
    return set(wording.split())


def _shingles(wording: str) -> set[str]:
    """The words of a text and its pairs of neighbouring words."""
    words = wording.split()
    return {*words, *map(" ".join, pairwise(words))}


def _are_copies(one: set[str], other: set[str]) -> bool:
    return len(one & other) >= LIKE * len(one | other)


def _are_variants(one: set[str], other: set[str]) -> bool:
    """Two words or more are the same; at most one is another, and one more or less."""
    return len(one & other) >= 2 and len(one ^ other) <= 3 and max(len(one - other), len(other - one)) <= 2


_COPIES = _Likeness(_shingles, lambda size: ceil(LIKE * size), _are_copies)
_VARIANTS = _Likeness(_words, lambda size: max(1, size - 2), _are_variants)
