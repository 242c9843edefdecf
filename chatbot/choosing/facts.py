"""The facts of a dialogue, put into a response of another one: "How old is Rex?" becomes "How old is Luna?".

A word of a response stands for a fact where the person had said it before and it is a name, a town, a job, a colour, an
animal or a number, or any other word that is rare: what is said of lasagna is not true of soup. Elsewhere the same word
may be the chatbot's own: "I like the blue sea."
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, pairwise

from chatbot.choosing.asking import Asking
from chatbot.decoding.reuse import names_of
from data.kinds import KINDS
from data.tokenizer import JOINER
from data.vocabulary import UNK, Vocabulary

# Which of the kinds in the file can stand for each other in a response.
_LIKE = {
    "name": ("women", "men", "female_pets", "male_pets"),
    "town": ("towns",),
    "job": ("healers", "teachers", "craftsmen", "caterers", "clerks", "artists"),
    "colour": ("colors", "coats"),
    "number": ("small_numbers", "middle_numbers", "large_numbers"),
}
_BEFORE_TOWN = ("in", "from", "to", "near")
_CALLING = ("called", "named", "name", "names")
_NEAR, _SHORT = 2, 2  # tokens between such a word and the name; tokens of an answer that is little more than a name
_RARE_FROM = 500  # ids are in the order of how frequent words are, and the most frequent are no names
_ANIMALS = "dog cat rabbit hamster horse parrot bird goldfish turtle puppy kitten"
# Facts are told of these: "Your son is called Max" does not answer the question for the cat's name.
_BEARERS = (
    f"{_ANIMALS} fish pet son daughter wife husband sister brother mother mum mom father dad parents child children "
    "kids baby boy girl grandson granddaughter grandmother grandma grandfather grandpa aunt uncle cousin boyfriend "
    "girlfriend friend friends boss neighbor neighbour car boat shop street house"
)

Utterance = tuple[int, ...]


class Facts:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self.asking = Asking(vocabulary)
        listed = tomllib.loads(KINDS.read_text("utf-8"))
        words = {like: " ".join(listed[kind] for kind in kinds).replace("/", " ") for like, kinds in _LIKE.items()}
        words["animal"] = _ANIMALS
        self._kinds = {vocabulary.id_of(word): kind for kind, row in words.items() for word in row.split()}
        digits = (place for place, token in enumerate(vocabulary.tokens) if token.strip(JOINER).isdigit())
        self._kinds |= dict.fromkeys(digits, "number")
        self._kinds.pop(UNK, None)
        self._bearers = {vocabulary.id_of(word) for word in _BEARERS.split()} - {UNK}
        self._pets = {vocabulary.id_of(word) for word in ("pet", "pets")} - {UNK}
        self._before_town = {vocabulary.id_of(word) for word in _BEFORE_TOWN} - {UNK}
        self._is_name = names_of(vocabulary)
        self._calling = {vocabulary.id_of(word) for word in _CALLING} - {UNK}

    def told(self, response: Utterance, earlier: Iterable[Sequence[int]], rare: Set[int]) -> tuple[bool, ...]:
        """Which words of a response are facts that were told in `earlier` utterances; `rare` words are such."""
        said = set(chain.from_iterable(earlier))
        return tuple((token in self._kinds or token in rare) and token in said for token in response)

    def known(self, earlier: Sequence[Sequence[int]]) -> dict[int, str]:
        """The words that a person has said in a dialogue whose last utterance is theirs, the last one first, each with
        its kind; "" of those that have none.

        A word after "called" or "name is" is a name, even "Biscuit"; a name after "in" or "from" is a town.
        """
        names, towns = set(self._named(earlier)), set(self._visited(earlier))
        theirs = chain.from_iterable(reversed(one) for one in earlier[::-2])
        return {
            token: "name" if token in names else self._kinds.get(token, "town" if token in towns else "")
            for token in theirs
        }

    def put_in(self, response: Utterance, told: Sequence[bool], known: Mapping[int, str]) -> Utterance | None:
        """A response with the facts of another dialogue: those of its words that were `told` are replaced by words of
        the same kind among those `known` of it.

        None where no such fact is known, or where one is of no kind and has not been said.
        """
        new: dict[int, int] = {}
        for token in dict.fromkeys(token for token, is_told in zip(response, told, strict=True) if is_told):
            free = (other for other in self._alike(token, known) if other not in new.values())
            if (other := token if token in known else next(free, None)) is None:
                return None
            new[token] = other
        return tuple(new.get(token, token) if is_told else token for token, is_told in zip(response, told, strict=True))

    def suits(
        self,
        response: Utterance,
        told: Sequence[bool],
        earlier: Sequence[Sequence[int]],
        known: Mapping[int, str],
    ) -> bool:
        """Tell whether the people, animals and things in a response that tells a fact are those of the last utterance.

        Where that utterance holds none ("What is her name?"), or "pet", those of the whole dialogue count as well.
        Where it asks for facts of the person, the response must tell no facts of other kinds.
        """
        if not any(told):
            return True
        last = earlier[-1]
        bearers = self._bearers.intersection(last)
        if not bearers or bearers & self._pets:  # "my pet" may be any of those that were spoken of
            bearers = bearers.union(chain.from_iterable(earlier))
        if not self._bearers.intersection(response) <= bearers:
            return False
        facts = {token for token, is_told in zip(response, told, strict=True) if is_told}.difference(last)
        kinds = {known.get(token) or self._kinds.get(token, "") for token in facts}
        return not self.asking.is_about_speaker(last) or kinds <= self.asking.kinds_asked_for(last)

    def asked_for(self, earlier: Sequence[Sequence[int]]) -> Set[int]:
        """Return the facts that a person has told in a dialogue and now asks for ("What is my name?")."""
        if not earlier or not self.asking.is_about_speaker(earlier[-1]):
            return frozenset()
        kinds, known = self.asking.kinds_asked_for(earlier[-1]), self.known(earlier)
        return {token for token, kind in known.items() if kind and kind in kinds}.difference(earlier[-1])

    def _visited(self, earlier: Sequence[Sequence[int]]) -> Iterator[int]:
        """Find names that a person said after a word for a place, such as "in"."""
        for theirs in earlier[::-2]:
            for before, token in pairwise(theirs):
                if before in self._before_town and self._is_name[token]:
                    yield token

    def _alike(self, token: int, known: Mapping[int, str]) -> Iterator[int]:
        kind = self._kinds.get(token)
        return (other for other, of in known.items() if kind is not None and of == kind)

    def _named(self, earlier: Sequence[Sequence[int]]) -> Iterator[int]:
        """Rare words of a person after "called", "named" or "name is", and those that answer a question for a name."""
        for place in range(len(earlier) - 1, -1, -2):
            theirs = earlier[place]
            is_answer = place > 0 and not self._calling.isdisjoint(earlier[place - 1]) and len(theirs) <= _SHORT
            for at, token in enumerate(theirs):
                is_called = not self._calling.isdisjoint(theirs[max(0, at - _NEAR) : at])
                if (is_called or is_answer) and token >= _RARE_FROM:
                    yield token
