"""Lessons in other words: near ones that no lesson uses, so that what was asked in some words is understood in others
(Wang & Yang, 2015, section 3; Wei & Zou, 2019, "synonym replacement")."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from data.batches import Batch
from data.vocabulary import SPECIALS

SHARE = 0.15  # of the words of lessons, at each step others
NEAR, LEAST = 5, 0.4  # so many words are near to one, and have at least this cosine with it


class Rewording:
    """The words near to those of some lessons. Used ones stand for themselves only: 'close' lies near 'open'."""

    def __init__(self, embedding: Tensor, used: Tensor, size: int) -> None:
        """`embedding` (V, E) of the words known before, `used` (U,) the different tokens of the lessons, of a
        vocabulary of `size` words, whose new ones are left alone."""
        self._words = torch.arange(size)
        self._used = used[(used >= len(SPECIALS)) & (used < len(embedding))]
        directions = normalize(embedding.detach(), dim=1)
        cosines = directions[self._used] @ directions.T  # (U, V)
        cosines[:, : len(SPECIALS)] = cosines[:, self._used] = -1
        self._cosines, self._near = cosines.topk(NEAR, dim=1)

    def __call__(self, batch: Batch) -> Batch:
        """The batch as the encoder is to read it now; what is to be said stays."""
        words = self._words.clone()
        chosen = torch.randint(self._near.shape[1], (len(self._used), 1))
        other = (self._cosines.gather(1, chosen)[:, 0] >= LEAST) & (torch.rand(len(self._used)) < SHARE)
        words[self._used] = torch.where(other, self._near.gather(1, chosen)[:, 0], self._used)
        return replace(batch, tokens=words[batch.tokens], tokens_backwards=words[batch.tokens_backwards])
