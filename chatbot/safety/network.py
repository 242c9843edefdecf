"""The network of the classifier: words as vectors, what is found in one to four of them in a row, and beside it a
linear second opinion on words and pieces of words."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from chatbot.safety.features import PIECES, ROWS, Features

WIDTHS = (1, 2, 3, 4)  # words in a row that a filter sees
FILTERS = 128  # of each width


class Network(nn.Module):
    def __init__(self, words: int, size: int, categories: int, dropout: float = 0.3) -> None:
        """`words` with vectors of this `size`; word 0 pads."""
        super().__init__()
        self.words = nn.Embedding(words, size, padding_idx=0, sparse=True)
        self.pieces = nn.EmbeddingBag(PIECES, size, mode="mean", sparse=True)
        self.filters = nn.ModuleList(nn.Linear(width * size, FILTERS) for width in WIDTHS)
        self.out = nn.Linear(len(WIDTHS) * FILTERS, categories)
        self.rows = nn.EmbeddingBag(ROWS, categories - 1, mode="sum", sparse=True)
        self.bias = nn.Parameter(torch.zeros(categories - 1))
        self.vectors_dropout, self.dropout = nn.Dropout(0.1), nn.Dropout(dropout)

    def forward(self, batch: Sequence[Features]) -> tuple[Tensor, Tensor]:
        """The logits of the categories (utterances, categories) by the filters, and by the second opinion."""
        return self._filtered(batch), self._second(batch)

    def _filtered(self, batch: Sequence[Features]) -> Tensor:
        vectors = self.vectors_dropout(self._vectors(batch))
        found = [
            torch.relu(linear(vectors.unfold(1, width, 1).transpose(2, 3).flatten(2)).amax(1))
            for width, linear in zip(WIDTHS, self.filters, strict=True)
        ]
        return self.out(self.dropout(torch.cat(found, 1)))

    def _vectors(self, batch: Sequence[Features]) -> Tensor:
        """(utterances, words, size), a place of zeros before and after the words of each."""
        length = max(max(WIDTHS), 2 + max(len(one.words) for one in batch))
        padded = torch.tensor([[0, *one.words, *[0] * (length - 1 - len(one.words))] for one in batch])
        vectors = self.words(padded.clamp(min=0))
        unknown = [pieces for one in batch for pieces in one.pieces]
        return vectors.index_put(tuple((padded < 0).nonzero().T), _bags(self.pieces, unknown)) if unknown else vectors

    def _second(self, batch: Sequence[Features]) -> Tensor:
        lengths = torch.tensor([[max(1, len(one.rows))] for one in batch])
        found = _bags(self.rows, [one.rows for one in batch]) / lengths.sqrt() + self.bias
        return nn.functional.pad(found, (0, 1))  # the last category scores 0


def _bags(embedding: nn.EmbeddingBag, bags: Sequence[Sequence[int] | np.ndarray]) -> Tensor:
    starts = torch.tensor([0, *map(len, bags[:-1])]).cumsum(0)
    return embedding(torch.from_numpy(np.concatenate(bags).astype(np.int64)), starts)
