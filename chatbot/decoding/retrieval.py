"""Responses of other dialogues as further candidates of a search."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.network import Model
from chatbot.decoding.search import Search
from chatbot.decoding.utterances import log_probabilities

_DRAWN_FROM = 2  # times as many responses are found as are offered


class Responses(Protocol):
    """What was answered elsewhere: `chatbot.retrieval.Responses`, `chatbot.choosing.responses.OwnResponses`."""

    def find(
        self, states: Tensor, earlier: Sequence[Sequence[Sequence[int]]], count: int
    ) -> list[list[tuple[int, ...]]]:
        """Up to `count` responses to each of the states (n, S), which were reached over the utterances `earlier`."""


def offer_written(responses: Responses, searches: Sequence[Search], earlier: Sequence[Sequence[Sequence[int]]]) -> None:
    """Give each search that asks for them responses that were written for the chatbot to choose among.

    `earlier` are the utterances that led to each search's state. A chooser judges them, so log-probabilities are not
    taken: they would cost more than all else.
    """
    for count in {search.config.written for search in searches} - {0}:
        asking = [place for place, search in enumerate(searches) if search.config.written == count]
        states = torch.cat([searches[place].state for place in asking])
        found = responses.find(states, [earlier[place] for place in asking], count)
        for place, replies in zip(asking, found, strict=True):
            searches[place].ended.extend(Hypothesis(ids, source="written") for ids in replies)


def offer_retrieved(
    model: Model,
    responses: Responses,
    searches: Sequence[Search],
    earlier: Sequence[Sequence[Sequence[int]]],
    is_judged: bool = False,
) -> None:
    """Give each search that asks for them human responses to choose among, with the log-probabilities they have unless
    a chooser judges them.

    Those offered are drawn from more that were found, so that a user who asks again is not told the same again; the
    samples are what they would have been without.
    """
    drawn = _drawn(responses, searches, earlier)
    if is_judged:
        for search, ids in drawn:
            search.ended.append(Hypothesis(ids, source="retrieved"))
        return
    if not drawn:
        return
    utterances = [ids for _, ids in drawn]
    given = log_probabilities(model, torch.cat([search.state for search, _ in drawn]), utterances)
    alone = log_probabilities(model, model.initial_state(len(drawn)), utterances)
    for (search, ids), log_probability, log_prior in zip(drawn, given.tolist(), alone.tolist(), strict=True):
        search.ended.append(Hypothesis(ids, log_probability, log_prior, "retrieved"))


def _drawn(
    responses: Responses, searches: Sequence[Search], earlier: Sequence[Sequence[Sequence[int]]]
) -> list[tuple[Search, tuple[int, ...]]]:
    """What is offered to the searches, for those that ask for the same number of responses together."""
    asking = [(search, said) for search, said in zip(searches, earlier, strict=True) if search.config.retrieved]
    counts = {search.config.retrieved for search, _ in asking}
    return [
        drawn
        for count in counts
        for drawn in _draw_responses(responses, [one for one in asking if one[0].config.retrieved == count], count)
    ]


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
