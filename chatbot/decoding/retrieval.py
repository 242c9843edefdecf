"""Human responses as further candidates of a search."""

from collections.abc import Sequence
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.network import Model
from chatbot.decoding.search import Search
from chatbot.decoding.utterances import log_probabilities

_DRAWN_FROM = 2  # times as many responses are found as are offered


class Responses(Protocol):
    """What people answered elsewhere; `chatbot.retrieval.Responses` is one."""

    def find(
        self, states: Tensor, earlier: Sequence[Sequence[Sequence[int]]], count: int
    ) -> list[list[tuple[int, ...]]]:
        """Up to `count` responses to each of the states (n, S), which were reached over the utterances `earlier`."""


def offer_responses(
    model: Model, responses: Responses, searches: Sequence[Search], earlier: Sequence[Sequence[Sequence[int]]]
) -> None:
    """Gives each search that asks for them human responses to choose among, with the log-probabilities they have.

    `earlier` are the utterances that led to each search's state. Those offered are drawn from more that were found, so
    that who asks again is not told the same again; the samples are what they would have been without.
    """
    asking = [(search, said) for search, said in zip(searches, earlier, strict=True) if search.config.retrieved]
    counts = {search.config.retrieved for search, _ in asking}
    drawn = list(
        chain.from_iterable(
            _draw_responses(responses, [one for one in asking if one[0].config.retrieved == count], count)
            for count in counts
        )
    )
    if not drawn:
        return
    utterances = [ids for _, ids in drawn]
    given = log_probabilities(model, torch.cat([search.state for search, _ in drawn]), utterances)
    alone = log_probabilities(model, model.initial_state(len(drawn)), utterances)
    for (search, ids), log_probability, log_prior in zip(drawn, given.tolist(), alone.tolist(), strict=True):
        search.ended.append(Hypothesis(ids, log_probability, log_prior, is_retrieved=True))


def _draw_responses(
    responses: Responses, asking: Sequence[tuple[Search, Sequence[Sequence[int]]]], count: int
) -> list[tuple[Search, tuple[int, ...]]]:
    """`count` responses for each search, all of which ask for as many: more found for a neighbour would change them."""
    states = torch.cat([search.state for search, _ in asking])
    found = responses.find(states, [said for _, said in asking], _DRAWN_FROM * count)
    return [
        (search, ids[place])
        for (search, _), ids in zip(asking, found, strict=True)
        for place in search.random.spawn(1)[0].permutation(len(ids))[:count]
    ]
