"""The chooser: a small network that reads the last utterances of a dialogue together with a candidate reply.

It tells how likely a reader calls the candidate sensible and specific (Adiwardana et al., 2020). Words of the dialogue
and of the candidate attend to each other and are then compared, as in decomposable attention (Parikh et al., EMNLP
2016) and in ESIM (Chen et al., ACL 2017; for choosing responses Chen & Wang, 2019), but over convolutions, which cost
less on a CPU than a recurrent reader. The likeness of two vectors, one of the dialogue and one of the candidate, is
added to it: a network that has learned these first learns the comparison much sooner.

Shapes: B dialogues with C tokens, N candidates with R tokens, H the size of the network.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from data.vocabulary import EOS, PAD, UNK

TURNS = 5  # the last utterances, which the chooser reads
_CONTEXT_TOKENS, _UTTERANCE_TOKENS, _CANDIDATE_TOKENS = 40, 24, 28
_BEGINNING = 8  # tokens of a long utterance that are read beside its end
_IN_CANDIDATE = TURNS  # for a candidate's words; a dialogue's words have the number of turns since
_FARTHEST = -9.0  # below any activation, for tokens that are not there
_FULL_ATTENTION = -1e4  # added where there is no token to attend to


@dataclass(frozen=True, slots=True)
class ChooserConfig:
    vocabulary_size: int
    size: int = 128  # H, of words and of all layers
    layers: int = 2  # convolutions over three words each

    def __post_init__(self) -> None:
        if min(self.vocabulary_size, self.size, self.layers) < 1 or self.size > 1024 or self.layers > 8:
            raise ValueError(f"these are no sizes of a chooser: {asdict(self)}")


class Question(NamedTuple):
    """Dialogues and candidates as padded ids: context and turns (B, C), candidates (N, R); owners (N,) tell which
    dialogue each candidate would answer."""

    context: Tensor
    turns: Tensor
    candidates: Tensor
    owners: Tensor


class Text(NamedTuple):
    """Padded texts: words (N, T, H), which of them are there (N, T), and a vector of each (N, H)."""

    words: Tensor
    is_there: Tensor
    vectors: Tensor


class Chooser(nn.Module):
    def __init__(self, config: ChooserConfig) -> None:
        super().__init__()
        size = config.size
        self.config = config
        self.words = nn.Embedding(config.vocabulary_size, size, padding_idx=PAD)
        self.turns = nn.Embedding(TURNS + 1, size)
        self.convolutions = nn.ModuleList(nn.Conv1d(size, size, 3, padding=1) for _ in range(config.layers))
        self.asking, self.answering = nn.Linear(2 * size, size), nn.Linear(2 * size, size)
        self.scale, self.likeness = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.ones(2))
        self.attending = nn.Linear(size, size)
        self.comparing = nn.Linear(3 * size, size)
        self.combining = nn.Conv1d(size, size, 3, padding=1)
        self.judging = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(4 * size, size), nn.ReLU(), nn.Dropout(0.2), nn.Linear(size, 2)
        )
        self.dropout = nn.Dropout(0.1)
        nn.init.normal_(self.turns.weight, std=0.1)
        # On the meta device values are not needed, and to set these torch would load its compiler.
        if not self.attending.weight.is_meta:
            nn.init.eye_(self.attending.weight)  # a word attends first to words that are like it
        nn.init.zeros_(self.attending.bias)

    def forward(self, question: Question, pairs: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Logits (N, 2): that each candidate is sensible, and that it is specific.

        `pairs` are the dialogues and the candidates, (Q,) each, that are compared instead of the question's own pairs;
        the logits are then (Q, 2).
        """
        owners, which = pairs or (question.owners, torch.arange(len(question.candidates)))
        asked = _rows(self.read_contexts(question.context, question.turns), owners)
        given = _rows(self.read_candidates(question.candidates), which)
        likeness = (self.scale * (asked.vectors * given.vectors).sum(dim=1))[:, None] * self.likeness
        attention = torch.bmm(self.attending(given.words), asked.words.transpose(1, 2)) / math.sqrt(self.config.size)
        of_asked = torch.bmm(_softmax(attention, asked.is_there), asked.words)
        of_given = torch.bmm(_softmax(attention.transpose(1, 2), given.is_there), given.words)
        compared = [self._compare(given, of_asked), self._compare(asked, of_given)]
        logits: Tensor = self.judging(torch.cat(compared, dim=1)) + likeness
        return logits

    def likeness_of_all(self, question: Question) -> Tensor:
        """How well each candidate answers each dialogue by their vectors alone: (B, N)."""
        asked = self.read_contexts(question.context, question.turns)
        given = self.read_candidates(question.candidates)
        return self.scale * asked.vectors @ given.vectors.T

    def read_contexts(self, context: Tensor, turns: Tensor) -> Text:
        return self._read(context, turns, self.asking)

    def read_candidates(self, candidates: Tensor) -> Text:
        return self._read(candidates, torch.full_like(candidates, _IN_CANDIDATE), self.answering)

    def _read(self, ids: Tensor, turns: Tensor, to_vector: nn.Module) -> Text:
        is_there = ids != PAD
        there = is_there[:, :, None]
        known = ids.where(ids < self.config.vocabulary_size, UNK)  # a retrained checkpoint has learned more words
        words = self.dropout((self.words(known) + self.turns(turns)) * there)
        for convolution in self.convolutions:
            words = (words + F.relu(convolution(words.transpose(1, 2)).transpose(1, 2))) * there
        return Text(words, is_there, F.normalize(to_vector(_pooled(words, is_there)), dim=1))

    def _compare(self, text: Text, attended: Tensor) -> Tensor:
        """What the words of texts say beside what they attended to in the other one: (N, 2H)."""
        seen = torch.cat([text.words, attended, text.words * attended], dim=2)
        compared = F.relu(self.comparing(seen)) * text.is_there[:, :, None]
        combined = compared + F.relu(self.combining(compared.transpose(1, 2)).transpose(1, 2))
        return _pooled(combined, text.is_there)


def ask(contexts: Sequence[Sequence[Sequence[int]]], groups: Sequence[Sequence[Sequence[int]]]) -> Question:
    """The utterances of B dialogues, oldest first, and the candidates of each, as ids -> what the chooser reads.

    Of an utterance or a dialogue that is too long the end is read. There must be a candidate.
    """
    owners = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor([len(group) for group in groups]))
    return Question(*pad_contexts(contexts), pad_candidates([ids for group in groups for ids in group]), owners)


def pad_contexts(contexts: Sequence[Sequence[Sequence[int]]]) -> tuple[Tensor, Tensor]:
    """The utterances of B dialogues as padded ids (B, C), and for each id how many turns ago it was said."""
    told = [_told(context) for context in contexts]
    context, turns = (pad_sequence([torch.tensor(one[part]) for one in told], batch_first=True) for part in (0, 1))
    return context, turns


def pad_candidates(candidates: Sequence[Sequence[int]]) -> Tensor:
    """N candidates as padded ids (N, R)."""
    return pad_sequence([torch.tensor([*ids[: _CANDIDATE_TOKENS - 1], EOS]) for ids in candidates], batch_first=True)


def _told(context: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """The ids of the last utterances, each with EOS behind it, and for each id how many turns ago it was said."""
    ids: list[int] = [EOS]
    turns: list[int] = [TURNS - 1]
    for utterance, ago in zip(context[-TURNS:], range(len(context[-TURNS:]) - 1, -1, -1), strict=True):
        kept = _shortened(utterance)
        ids += [*kept, EOS]
        turns += [ago] * (len(kept) + 1)
    return ids[-_CONTEXT_TOKENS:], turns[-_CONTEXT_TOKENS:]


def _shortened(utterance: Sequence[int]) -> Sequence[int]:
    if len(utterance) <= _UTTERANCE_TOKENS:
        return utterance
    return [*utterance[:_BEGINNING], *utterance[_BEGINNING - _UTTERANCE_TOKENS :]]


def _rows(text: Text, rows: Tensor) -> Text:
    return Text(*(part[rows] for part in text))


def _softmax(attention: Tensor, is_there: Tensor) -> Tensor:
    """Attention (N, T, S) -> shares of the tokens (N, S) that are there."""
    return attention.masked_fill(~is_there[:, None], _FULL_ATTENTION).softmax(dim=2)


def _pooled(words: Tensor, is_there: Tensor) -> Tensor:
    """The largest and the mean of each number over the words of a text: (N, T, H), (N, T) -> (N, 2H)."""
    there = is_there[:, :, None]
    largest = words.masked_fill(~there, _FARTHEST).amax(dim=1)
    return torch.cat([largest, (words * there).sum(dim=1) / there.sum(dim=1)], dim=1)
