"""Words a checkpoint has never met: which of them are worth learning, and where they start from."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from chatbot.model import HRED
from data.tokenizer import tokenise
from data.vocabulary import SPECIALS, UNK, Vocabulary, fold

MIN_COUNT, MIN_DIALOGUES, MIN_PEOPLE = 5, 3, 2  # that a word must occur in to be worth learning
MAX_WORDS = 1_000  # at once
_WINDOW = 2  # words to either side that are a word's neighbours


class Said(NamedTuple):
    """The utterances of a dialogue and whose they are; where nobody knows, each dialogue counts as another person."""

    dialogue: str
    person: str | None
    utterances: Sequence[str]


def new_words(said: Iterable[Said], vocabulary: Vocabulary, contacts: Iterable[str] = ()) -> list[str]:
    """Tokens outside the vocabulary: first those of `contacts`, then those that are frequent and neither one person's
    nor one dialogue's alone, the most frequent first.

    A token of a contact is taken just as it is joined there, so that no digit and no space of a number is changed."""
    needed = {fold(token): token for text in contacts for token in tokenise(text) if token not in vocabulary}
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    dialogues: defaultdict[str, set[str]] = defaultdict(set)
    people: defaultdict[str, set[str]] = defaultdict(set)
    for one in said:
        for token in (token for text in one.utterances for token in tokenise(text)):
            if vocabulary.id_of(token) == UNK:
                counts[token] += 1
                totals[fold(token)] += 1
                dialogues[fold(token)].add(one.dialogue)
                people[fold(token)].add(one.person or one.dialogue)
    shared = {
        word
        for word, total in totals.items()
        if total >= MIN_COUNT and len(dialogues[word]) >= MIN_DIALOGUES and len(people[word]) >= MIN_PEOPLE
    }
    frequent = {token: count for token, count in counts.items() if fold(token) in shared - needed.keys()}
    return [*needed.values(), *Vocabulary.from_counts(frequent, len(SPECIALS) + MAX_WORDS).tokens[len(SPECIALS) :]]


def grown(
    model: HRED, vocabulary: Vocabulary, words: Sequence[str], utterances: Iterable[str]
) -> tuple[HRED, Vocabulary]:
    """The model and the vocabulary with `words` added at the end; all that it knew it knows as before.

    A word starts as the mean of its neighbours in the utterances, off by as much as words differ, so that two of one
    kind can be told apart; and as likely as the rarest words.
    """
    larger = Vocabulary([*vocabulary.tokens, *words])
    own = HRED(replace(model.config, vocabulary_size=len(larger)))
    weights = model.state_dict()
    embedding, bias = weights["embedding.weight"], weights["output_bias"]
    starts = _neighbourhoods(embedding, larger, utterances)
    rarest = bias[len(SPECIALS) :].quantile(0.05).expand(len(words))
    own.load_state_dict(
        weights | {"embedding.weight": torch.cat([embedding, starts]), "output_bias": torch.cat([bias, rarest])}
    )
    return own.train(model.training), larger


def _neighbourhoods(embedding: Tensor, vocabulary: Vocabulary, utterances: Iterable[str]) -> Tensor:
    """The mean embedding of the known words around each new one, which are those beyond the embedding: (new, E)."""
    known = len(embedding)
    sums = torch.zeros(len(vocabulary) - known, embedding.shape[1])
    counts = torch.zeros(len(sums), 1)
    for text in utterances:
        ids = vocabulary.encode(text)
        for place, id in enumerate(ids):
            if id >= known:
                around = ids[max(0, place - _WINDOW) : place] + ids[place + 1 : place + 1 + _WINDOW]
                near = [other for other in around if len(SPECIALS) <= other < known]
                sums[id - known] += embedding[near].sum(dim=0)
                counts[id - known] += len(near)
    means = torch.where(counts > 0, sums / counts.clamp(min=1), embedding[len(SPECIALS) :].mean(dim=0))
    noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(0))
    return means + embedding.std() * noise
