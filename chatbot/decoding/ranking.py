"""The choice among the candidates of a turn."""

from collections.abc import Sequence, Set
from typing import NamedTuple

import torch
from torch import Tensor

from chatbot.choosing.sense import Sense, SenseJudge
from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.network import Model
from chatbot.decoding.reuse import first_sentence
from chatbot.decoding.utterances import encode_utterances
from chatbot.reply import DecodingConfig

_SENSE_SCALE = 0.1  # of the weight of repetition: probabilities differ by tenths, the other score by whole nats


class Rated(NamedTuple):
    """A hypothesis among the candidates of one turn, with what its `score` is made of.

        (log p(y|s) - lambda log p(y)) / |y|^penalty  +  w relevance(s, y)  -  v repetition(y)  -  m, if y is retrieved

    The first term is maximum mutual information (Li et al., NAACL 2016, eq. 9), divided as a whole so that its two
    log-probabilities stay comparable. Where a chooser judges the candidates, its opinion takes the place of all but
    repetition:

        p(sensible) + w' p(specific)  -  v' repetition(y)
            -  m', if the network decoded y and y tells of the chatbot  +  r, if y tells a fact that was asked for

    for of what the chatbot is, the network knows nothing: it has learned from people, and says that it has children.
    """

    hypothesis: Hypothesis
    score: float
    relevance: float
    repetition: float
    sense: Sense | None = None


def ranked(
    model: Model,
    states: Tensor,
    groups: Sequence[Sequence[Hypothesis]],
    configs: Sequence[DecodingConfig],
    earlier: Sequence[Sequence[Sequence[int]]],
    judge: SenseJudge | None = None,
    beside: Sequence[Sequence[Sequence[int]]] | None = None,
) -> list[list[Rated]]:
    """The candidates of each of n replies, best first: by their relevance to `states` (n, S) and their likelihood, or
    by what a `judge` says of them. All are looked at in one batch.

    `earlier` are the utterances that led to each reply, `beside` the replies that were given there before: they are not
    to be said again. With a judge the first sentences of longer candidates are candidates as well, and their relevance
    is left at 0.
    """
    if judge is not None:
        groups = [[*group, *first_sentences(group, judge.marks)] if len(group) > 1 else group for group in groups]
    senses = _senses(judge, groups, earlier)
    relevance = _relevance(model, states, groups) if judge is None else [[0.0] * len(group) for group in groups]
    said = [[*context, *given] for context, given in zip(earlier, beside or [[]] * len(earlier), strict=True)]
    gains = [
        _gains(judge, group, config, context) for group, config, context in zip(groups, configs, earlier, strict=True)
    ]
    return [best_first(*of_one) for of_one in zip(groups, configs, relevance, said, senses, gains, strict=True)]


def best_first(
    hypotheses: Sequence[Hypothesis],
    config: DecodingConfig,
    relevance: Sequence[float],
    earlier: Sequence[Sequence[int]] = (),
    senses: Sequence[Sense | None] | None = None,
    gains: Sequence[float] | None = None,
) -> list[Rated]:
    """The hypotheses in falling order of their score.

    Those that should not be taken follow: first samples that were cut off at their limit, then retrieved ones that are
    not relevant enough where no sense is known, then word-for-word repeats of an earlier utterance. `gains` are
    added to the scores of hypotheses whose sense is known.
    """
    utterances = {tuple(utterance) for utterance in earlier}
    said = set().union(*(ngrams(utterance, config.no_repeat_ngram) for utterance in utterances))
    opinions = senses or [None] * len(hypotheses)
    rated = [
        rate(hypothesis, config, fits, said, sense, gain)
        for hypothesis, fits, sense, gain in zip(
            hypotheses, relevance, opinions, gains or [0.0] * len(hypotheses), strict=True
        )
    ]

    def order(one: Rated) -> tuple[bool, bool, bool, float]:
        ids, is_retrieved = one.hypothesis.ids, one.hypothesis.is_retrieved
        is_off = is_retrieved and one.sense is None and one.relevance < config.retrieved_relevance
        is_cut = one.hypothesis.source == "decoded" and config.method == "sample" and len(ids) == config.max_tokens
        return ids in utterances, is_off, is_cut, -one.score

    return sorted(rated, key=order)


def rate(
    hypothesis: Hypothesis,
    config: DecodingConfig,
    relevance: float = 0.0,
    said: Set[tuple[int, ...]] = frozenset(),
    sense: Sense | None = None,
    added: float = 0.0,
) -> Rated:
    """How good a reply is among the candidates of one turn; `said` are the n-grams of earlier utterances.

    `added` is a number from `_gains`; it counts where its sense is known.
    """
    repeated = repetition(hypothesis.ids, ngrams(hypothesis.ids, config.no_repeat_ngram), said)
    if sense is not None:
        gain = sense.sensible + config.specific_weight * sense.specific + added
        loss = _SENSE_SCALE * config.repetition_weight * repeated
        return Rated(hypothesis, gain - loss, relevance, repeated, sense)
    gain = hypothesis.normalised(config) + config.relevance_weight * relevance
    loss = config.repetition_weight * repeated + config.retrieved_margin * hypothesis.is_retrieved
    return Rated(hypothesis, gain - loss, relevance, repeated)


def first_sentences(group: Sequence[Hypothesis], marks: Set[int]) -> list[Hypothesis]:
    """The first sentence of each hypothesis that has more of them, as hypotheses whose log-probability is not known."""
    whole = {one.ids for one in group}
    firsts = dict.fromkeys(first_sentence(one.ids, marks) for one in group)
    return [Hypothesis(ids, source="shortened") for ids in firsts if ids not in whole]


def repetition(ids: Sequence[int], own: Set[tuple[int, ...]], said: Set[tuple[int, ...]]) -> float:
    """The share of a reply's n-grams that were said before, and the share of its words that it says twice; 0 to 2."""
    again = len(own & said) / len(own) if own else 0.0
    twice = 1 - len(set(ids)) / len(ids) if ids else 0.0
    return again + twice


def ngrams(ids: Sequence[int], n: int) -> set[tuple[int, ...]]:
    """All runs of n tokens; none for n = 0."""
    return {tuple(ids[start : start + n]) for start in range(len(ids) - n + 1)} if n else set()


def _senses(
    judge: SenseJudge | None,
    groups: Sequence[Sequence[Hypothesis]],
    earlier: Sequence[Sequence[Sequence[int]]],
) -> list[Sequence[Sense | None]]:
    """What a judge says of the candidates of each reply; nothing where there is no judge or nothing to choose."""
    if judge is None:
        return [[None] * len(group) for group in groups]
    found = judge.judge(earlier, [[one.ids for one in group] if len(group) > 1 else [] for group in groups])
    return [senses or [None] * len(group) for senses, group in zip(found, groups, strict=True)]


def _gains(
    judge: SenseJudge | None, group: Sequence[Hypothesis], config: DecodingConfig, earlier: Sequence[Sequence[int]]
) -> list[float]:
    """Return a number for each hypothesis that is added to its score: less if it tells of the chatbot without knowing,
    more if it tells a fact that the person asks for."""
    if judge is None or judge.facts is None:
        return [0.0] * len(group)
    asking, facts = judge.facts.asking, judge.facts.asked_for(earlier)
    is_asked = bool(earlier) and asking.is_about_listener(earlier[-1])
    return [
        config.recall_margin * (not facts.isdisjoint(one.ids))
        - config.itself_margin * (one.is_own and (is_asked or asking.speaks_of_itself(one.ids)))
        for one in group
    ]


def _relevance(model: Model, states: Tensor, groups: Sequence[Sequence[Hypothesis]]) -> list[list[float]]:
    """How well each candidate answers its state; 0 where the model cannot tell or there is nothing to choose."""
    if not model.has_relevance or all(len(group) == 1 for group in groups):
        return [[0.0] * len(group) for group in groups]
    counts = [len(group) for group in groups]
    vectors = encode_utterances(model, [hypothesis.ids for group in groups for hypothesis in group])
    scores = model.relevance(states.repeat_interleave(torch.tensor(counts), dim=0), vectors)
    return [part.tolist() for part in scores.split(counts)]
