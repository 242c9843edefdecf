"""The search for one reply: it owns a block of rows of a batch, one a live hypothesis."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from torch import Tensor

from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.network import Model
from chatbot.reply import DecodingConfig
from data.vocabulary import EOS

Seed = int | tuple[int, ...] | None


class Pick(NamedTuple):
    """A token that extends the hypothesis of one row."""

    row: int
    token: int
    log_probability: float
    log_prior: float
    mark: int


class Choice(NamedTuple):
    """What a search makes of its continuations; nothing has changed until it is `accept`ed."""

    live: list[Hypothesis]
    parents: list[int]  # row of the hypothesis that each live one extends
    ended: list[Hypothesis]


class Search:
    """The search for one reply: live hypotheses with their rows, and the ended ones kept apart.

    `state` is (1, S). `seed` fixes the samples whatever else is in the batch; None draws a fresh one.
    """

    __slots__ = ("config", "ended", "fed", "live", "memory", "prior_fed", "prior_memory", "random", "state")

    def __init__(self, config: DecodingConfig, state: Tensor, memory: Tensor, fed: Tensor, seed: Seed = None) -> None:
        self.config = config
        self.live = [Hypothesis()]
        self.ended: list[Hypothesis] = []
        self.random = np.random.default_rng(seed)
        self.state = state  # (1, S), the same for every row
        self.memory = memory  # (L, M)
        self.fed = fed  # (1, F) of the state
        self.prior_memory: Tensor | None = None  # (L, M) of the same tokens decoded from a zero state
        self.prior_fed: Tensor | None = None  # (1, F) of that

    @property
    def is_done(self) -> bool:
        return not self.live

    def choose(self, picks: Iterable[Pick]) -> Choice:
        """What becomes of the live hypotheses with these extensions, the best first."""
        choice = Choice([], [], [])
        room = self.config.beam_size if self.config.method == "beam" else math.inf
        for row, token, log_probability, log_prior, mark in picks:
            stem = self.live[row]
            spoken = mark if token == EOS else token
            ids = stem.ids if spoken == EOS else (*stem.ids, spoken)
            grown = Hypothesis(ids, stem.log_probability + log_probability, stem.log_prior + log_prior)
            if token == EOS:
                choice.ended.append(grown)
            elif len(choice.live) < room:
                choice.live.append(grown)
                choice.parents.append(row)
        return choice

    def accept(self, choice: Choice, memory: Tensor, prior_memory: Tensor | None) -> None:
        """Takes a choice over with the memory of its live rows, and ends a beam that nothing live can beat."""
        self.live, self.memory, self.prior_memory = choice.live, memory, prior_memory
        self.ended.extend(choice.ended)
        if self.config.method == "beam" and self.ended and self.live:
            best = max(hypothesis.normalised(self.config) for hypothesis in self.ended)
            if best >= self._bound():
                self.live = []

    def _bound(self) -> float:
        """The best `normalised` a live hypothesis can reach: every token to come certain, and as many as allowed.

        Where log p(y) counts as well the gain can rise without bound, so the beam runs until all have ended.
        """
        if self.prior_memory is not None:
            return math.inf
        best = max(hypothesis.log_probability for hypothesis in self.live)
        return best / (self.config.max_tokens + 1) ** self.config.length_penalty


def start_searches(
    model: Model,
    states: Tensor,
    configs: Sequence[DecodingConfig],
    seeds: Sequence[Seed],
    is_judged: bool = False,
) -> list[Search]:
    """One search for each row of `states` (N, S). Where a chooser judges what they find, log p(y) is not followed."""
    if is_judged:
        configs = [replace(config, mmi_lambda=0.0) for config in configs]
    memory, fed = model.start_decoding(states), model.feed(states)  # (N, M), (N, F)
    searches = [
        Search(*of_one) for of_one in zip(configs, states.split(1), memory.split(1), fed.split(1), seeds, strict=True)
    ]
    followers = [search for search in searches if search.config.follows_prior]
    if followers:
        nothing = model.initial_state(1)
        prior, prior_fed = model.start_decoding(nothing), model.feed(nothing)  # (1, M), (1, F)
        for search in followers:
            search.prior_memory, search.prior_fed = prior, prior_fed
    return searches


def row_blocks(searches: Sequence[Search], start: int = 0) -> list[slice]:
    """The rows of each search where they follow one another."""
    ends = list(accumulate((len(search.live) for search in searches), initial=start))
    return [slice(begin, end) for begin, end in pairwise(ends)]
