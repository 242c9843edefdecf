"""The choice among the candidates of a turn."""

from collections.abc import Sequence, Set
from typing import NamedTuple

import torch
from torch import Tensor

from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.network import Model
from chatbot.decoding.utterances import encode_utterances
from chatbot.reply import DecodingConfig


class Rated(NamedTuple):
    """A hypothesis among the candidates of one turn, with what its `score` is made of.

        (log p(y|s) - lambda log p(y)) / |y|^penalty  +  w relevance(s, y)  -  v repetition(y)  -  m, if y is retrieved

    The first term is maximum mutual information (Li et al., NAACL 2016, eq. 9), divided as a whole so that its two
    log-probabilities stay comparable.
    """

    hypothesis: Hypothesis
    score: float
    relevance: float
    repetition: float


def ranked(
    model: Model,
    states: Tensor,
    groups: Sequence[Sequence[Hypothesis]],
    configs: Sequence[DecodingConfig],
    earlier: Sequence[Sequence[Sequence[int]]],
) -> list[list[Rated]]:
    """The candidates of each of n replies, best first; the relevance of all to their `states` (n, S) in one batch."""
    relevance = _relevance(model, states, groups)
    return [
        best_first(group, config, scores, context)
        for group, config, scores, context in zip(groups, configs, relevance, earlier, strict=True)
    ]


def best_first(
    hypotheses: Sequence[Hypothesis],
    config: DecodingConfig,
    relevance: Sequence[float],
    earlier: Sequence[Sequence[int]] = (),
) -> list[Rated]:
    """The hypotheses in falling order of their score.

    Those that should not be taken follow: first samples that were cut off at their limit, then retrieved ones that are
    not relevant enough, then word-for-word repeats of an earlier utterance.
    """
    utterances = {tuple(utterance) for utterance in earlier}
    said = set().union(*(ngrams(utterance, config.no_repeat_ngram) for utterance in utterances))
    rated = [rate(hypothesis, config, fits, said) for hypothesis, fits in zip(hypotheses, relevance, strict=True)]

    def order(one: Rated) -> tuple[bool, bool, bool, float]:
        ids, is_retrieved = one.hypothesis.ids, one.hypothesis.is_retrieved
        is_off = is_retrieved and one.relevance < config.retrieved_relevance
        is_cut = not is_retrieved and config.method == "sample" and len(ids) == config.max_tokens
        return ids in utterances, is_off, is_cut, -one.score

    return sorted(rated, key=order)


def rate(
    hypothesis: Hypothesis,
    config: DecodingConfig,
    relevance: float = 0.0,
    said: Set[tuple[int, ...]] = frozenset(),
) -> Rated:
    """How good a reply is among the candidates of one turn; `said` are the n-grams of earlier utterances."""
    repeated = repetition(hypothesis.ids, ngrams(hypothesis.ids, config.no_repeat_ngram), said)
    gain = hypothesis.normalised(config) + config.relevance_weight * relevance
    loss = config.repetition_weight * repeated + config.retrieved_margin * hypothesis.is_retrieved
    return Rated(hypothesis, gain - loss, relevance, repeated)


def repetition(ids: Sequence[int], own: Set[tuple[int, ...]], said: Set[tuple[int, ...]]) -> float:
    """The share of a reply's n-grams that were said before, and the share of its words that it says twice; 0 to 2."""
    again = len(own & said) / len(own) if own else 0.0
    twice = 1 - len(set(ids)) / len(ids) if ids else 0.0
    return again + twice


def ngrams(ids: Sequence[int], n: int) -> set[tuple[int, ...]]:
    """All runs of n tokens; none for n = 0."""
    return {tuple(ids[start : start + n]) for start in range(len(ids) - n + 1)} if n else set()


def _relevance(model: Model, states: Tensor, groups: Sequence[Sequence[Hypothesis]]) -> list[list[float]]:
    """How well each candidate answers its state; 0 where the model cannot tell or there is nothing to choose."""
    if not model.has_relevance or all(len(group) == 1 for group in groups):
        return [[0.0] * len(group) for group in groups]
    counts = [len(group) for group in groups]
    vectors = encode_utterances(model, [hypothesis.ids for group in groups for hypothesis in group])
    scores = model.relevance(states.repeat_interleave(torch.tensor(counts), dim=0), vectors)
    return [part.tolist() for part in scores.split(counts)]
