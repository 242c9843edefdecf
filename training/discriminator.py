"""Human or machine? The hierarchical discriminator of Li et al. (EMNLP 2017, section 3.1).

An utterance encoder reads every utterance, a second recurrent layer the utterances of the dialogue, and a softmax of
two tells whether a person said the last one. The encoder reads forwards only, so that its vector after each word is the
one of the response so far: one pass judges every beginning of a response.
Shapes: B dialogues, N utterances, R responses, P and Q packed tokens, E embedding, H hidden.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from chatbot.recurrent import RecurrentStack, last_states
from data.batches import Batch
from data.vocabulary import PAD

MACHINE, HUMAN = 0, 1
_DROPOUT = 0.3


class Discriminator(nn.Module):
    """Shares nothing with the model it judges but the vocabulary."""

    def __init__(self, vocabulary_size: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.embedding = nn.Embedding(vocabulary_size, size, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.encoder = RecurrentStack("gru", 1, size, size)
        self.tracker = RecurrentStack("gru", 1, size, size)
        self.dropout = nn.Dropout(_DROPOUT)
        self.output = nn.Linear(size, 2)

    def read(self, batch: Batch) -> Tensor:
        """States of the dialogues before each response of a batch: (R, H)."""
        return self._states(batch)[batch.states]

    def listen(self, tokens: Tensor, sizes: Sequence[int]) -> Tensor:
        """What was heard after every word of packed utterances: (Q,), alive at each step -> (Q, H)."""
        words = self.dropout(self.embedding(tokens))
        heard: Tensor = self.encoder(words, sizes, self._start(sizes[0]))
        return heard

    def judge(self, states: Tensor, heard: Tensor) -> Tensor:
        """Logits of MACHINE and HUMAN for responses, or beginnings of them, row by row: (N, H), (N, H) -> (N, 2)."""
        return self._verdict(self.tracker.step(heard, states))

    def judge_last(self, batch: Batch) -> Tensor:
        """The same for the last utterance of each dialogue of a batch: (B, 2)."""
        return self._verdict(self._states(batch)[batch.last_states])

    def _states(self, batch: Batch) -> Tensor:
        """(B + N, H), as in `chatbot.model.HRED.read`."""
        vectors = last_states(self.listen(batch.tokens, batch.sizes), batch.lengths, batch.sizes)
        start = self._start(batch.turn_sizes[0])
        states = self.tracker(vectors[batch.turns], batch.turn_sizes, start)
        return torch.cat([start.to(states.dtype), states])

    def _verdict(self, states: Tensor) -> Tensor:
        logits: Tensor = self.output(self.dropout(states)).float()
        return logits

    def _start(self, count: int) -> Tensor:
        return torch.zeros(count, self.size)


def random_beginnings(sizes: Sequence[int]) -> Tensor:
    """The packed row of the last word of a random beginning of each sequence: (R,)."""
    lengths = _lengths(sizes)
    return _rows((torch.rand(len(lengths)) * lengths).long(), sizes)


def ends(sizes: Sequence[int]) -> Tensor:
    """The packed row of the last word of each sequence: (R,)."""
    return _rows(_lengths(sizes) - 1, sizes)


def _lengths(sizes: Sequence[int]) -> Tensor:
    return (torch.tensor(sizes)[:, None] > torch.arange(sizes[0])).sum(dim=0)


def _rows(steps: Tensor, sizes: Sequence[int]) -> Tensor:
    starts = torch.tensor([0, *accumulate(sizes)])
    return starts[steps] + torch.arange(len(steps))
