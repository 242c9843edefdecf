import math
from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from chatbot.decoding.continuations import repeating_tokens
from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.offline import decode
from chatbot.decoding.picking import sampling_probabilities
from chatbot.decoding.ranking import best_first, ngrams, rate
from chatbot.decoding.search import start_searches
from chatbot.decoding.stepping import step
from chatbot.reply import DEFAULT, GREEDY, DecodingConfig
from data.debris import Debris
from data.tokenizer import JOINER as J
from data.vocabulary import EOS, PAD, Speech, Vocabulary
from tests.tiny_checkpoint import tiny_model

A, B, C = 4, 5, 6
LETTERS = {A: "A", B: "B", C: "C", EOS: "."}
BEAM = DecodingConfig(method="beam")


class TableModel:
    """p(next | prefix) by hand, over PAD UNK BOS EOS A B C. The memory is the prefix as a number in base 7."""

    has_relevance = False

    def __init__(self, table: dict[str, dict[int, float]], default: dict[int, float]) -> None:
        self.table, self.default = table, default
        self.rows_seen: list[int] = []

    def initial_state(self, count: int) -> Tensor:
        return torch.zeros(count, 1)

    def start_decoding(self, state: Tensor) -> Tensor:
        return torch.zeros(len(state), 1, dtype=torch.float64)

    def feed(self, state: Tensor) -> Tensor:
        return state

    def decode_step(self, tokens: Tensor, memory: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.rows_seen.append(len(tokens))
        memory = torch.where(tokens[:, None] < EOS, memory, memory * 7 + tokens[:, None])
        logits = torch.full((len(tokens), 7), -math.inf)
        for row, code in enumerate(memory[:, 0].long().tolist()):
            for token, probability in self.table.get(prefix_of(code), self.default).items():
                logits[row, token] = math.log(probability) if probability else -math.inf
        return logits, memory


def prefix_of(code: int) -> str:
    return prefix_of(code // 7) + LETTERS[code % 7] if code else ""


def row(a: float, b: float, c: float, end: float) -> dict[int, float]:
    return {A: a, B: b, C: c, EOS: end}


def lecture_table() -> TableModel:
    """ "Dive into Deep Learning", beam search: the likeliest word at each step is not the likeliest sequence."""
    table = {
        "": row(0.5, 0.2, 0.2, 0.1),
        "A": row(0.1, 0.4, 0.3, 0.2),
        "AB": row(0.2, 0.2, 0.4, 0.2),
        "ABC": row(0.0, 0.2, 0.2, 0.6),
        "AC": row(0.1, 0.6, 0.2, 0.1),
        "ACB": row(0.1, 0.2, 0.1, 0.6),
    }
    return TableModel(table, default=row(0.3, 0.3, 0.3, 0.1))


def spell(hypothesis: Hypothesis) -> str:
    return "".join(LETTERS[token] for token in hypothesis.ids)


def test_greedy_finds_the_lectures_sequence_of_probability_0048() -> None:
    [[found]] = decode(lecture_table(), torch.zeros(1, 1), GREEDY)
    assert spell(found) == "ABC"
    assert math.exp(found.log_probability) == pytest.approx(0.5 * 0.4 * 0.4 * 0.6)
    assert math.exp(found.log_probability) == pytest.approx(0.048)


@pytest.mark.parametrize("beam_size", [2, 3, 5])
def test_beam_search_finds_the_lectures_sequence_of_probability_0054(beam_size: int) -> None:
    [found] = decode(lecture_table(), torch.zeros(1, 1), replace(BEAM, beam_size=beam_size))
    assert spell(found[0]) == "ACB"
    assert math.exp(found[0].log_probability) == pytest.approx(0.054)


def test_a_beam_stops_once_no_live_hypothesis_can_win() -> None:
    sure = TableModel({"": row(0.98, 0.01, 0.01, 0.0), "A": row(0.0, 0.01, 0.0, 0.99)}, row(0.3, 0.3, 0.3, 0.1))
    [found] = decode(sure, torch.zeros(1, 1), BEAM)
    assert spell(found[0]) == "A"
    assert len(sure.rows_seen) == 2  # of 41 steps allowed


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length_penalty", [0.0, 0.75, 1.5])
def test_a_beam_of_full_width_finds_what_exhaustive_search_finds(seed: int, length_penalty: float) -> None:
    model, limit = tiny_model(8, seed), 3
    state = torch.randn(1, model.config.state_size, generator=torch.Generator().manual_seed(seed))
    config = DecodingConfig(
        method="beam", beam_size=4**limit, length_penalty=length_penalty, no_repeat_ngram=0, max_tokens=limit
    )
    every = [
        Hypothesis(ids, log_probability_of(model, state, ids))
        for length in range(1, limit + 1)
        for ids in product(range(4, 8), repeat=length)
    ]
    expected = max(every, key=lambda hypothesis: hypothesis.normalised(config))
    [found] = decode(model, state, config)
    assert found[0].ids == expected.ids
    assert found[0].log_probability == pytest.approx(expected.log_probability, abs=1e-4)


def log_probability_of(model: object, state: Tensor, ids: tuple[int, ...]) -> float:
    """log p(ids EOS | state), one plain step after another."""
    memory, total = model.start_decoding(state), 0.0
    for token, target in zip((2, *ids), (*ids, EOS), strict=True):
        logits, memory = model.decode_step(torch.tensor([token]), memory, state)
        total += float(logits.double().log_softmax(1)[0, target])
    return total


@pytest.mark.parametrize(
    "config",
    [
        GREEDY,
        replace(BEAM, max_tokens=12),
        replace(BEAM, mmi_lambda=0.5, relevance_weight=0.5, max_tokens=12),
        replace(DEFAULT, max_tokens=12),
        DecodingConfig(top_p=0.9, max_tokens=12),
    ],
)
def test_a_batch_decodes_what_each_reply_decodes_alone(config: DecodingConfig) -> None:
    model = tiny_model(40)
    states = torch.randn(9, model.config.state_size, generator=torch.Generator().manual_seed(1))
    together = start_searches(model, states, [config] * 9, list(range(9)))
    for moment in range(60):  # one more joins at each of the first steps
        step(model, together[: moment + 1])
    for place, search in enumerate(together):
        [alone] = start_searches(model, states[place : place + 1], [config], [place])
        while not alone.is_done:
            step(model, [alone])
        assert search.is_done
        assert [hypothesis.ids for hypothesis in search.ended] == [hypothesis.ids for hypothesis in alone.ended]
        for one, other in zip(search.ended, alone.ended, strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, abs=1e-3)
            assert one.log_prior == pytest.approx(other.log_prior, abs=1e-3)


def test_replies_of_every_method_share_one_batch() -> None:
    model = tiny_model(40)
    states = torch.randn(5, model.config.state_size)
    configs = [DEFAULT, GREEDY, BEAM, replace(DEFAULT, mmi_lambda=0.0), DecodingConfig(candidates=3, top_k=40)]
    searches = start_searches(model, states, configs, [0] * 5)
    calls = []
    plain_step = model.decode_step

    def counting_step(tokens: Tensor, memory: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(len(tokens))
        return plain_step(tokens, memory, state)

    model.decode_step = counting_step
    step(model, searches)
    assert calls == [6]  # one row each, and one for log p(y) of the first
    step(model, searches)
    live = [len(search.live) for search in searches]
    assert calls[1] <= 16 * 2 + 1 + 5 + 16 + 3
    while not all(search.is_done for search in searches):
        step(model, searches)
    assert len(calls) <= DEFAULT.max_tokens + 1
    assert all(search.ended for search in searches)
    assert max(live) <= 16


def test_log_p_of_a_candidate_and_its_prior_are_those_of_teacher_forcing() -> None:
    model = tiny_model(30)
    state = torch.randn(1, model.config.state_size, generator=torch.Generator().manual_seed(3))
    [found] = decode(model, state, replace(DEFAULT, max_tokens=8))
    assert len(found) == DEFAULT.candidates
    for hypothesis in found:
        expected = log_probability_of(model, state, hypothesis.ids)
        prior = log_probability_of(model, model.initial_state(1), hypothesis.ids)
        assert hypothesis.log_probability == pytest.approx(expected, abs=1e-3)
        assert hypothesis.log_prior == pytest.approx(prior, abs=1e-3)


@pytest.mark.parametrize("config", [GREEDY, BEAM, DecodingConfig(candidates=50)])
def test_pad_unk_and_bos_are_never_produced_and_lengths_hold(config: DecodingConfig) -> None:
    eager = dict.fromkeys(range(3), 0.3) | row(0.01, 0.01, 0.01, 0.07)
    config = replace(config, min_tokens=3, max_tokens=5)
    [found] = decode(TableModel({}, eager), torch.zeros(1, 1), config)
    assert found
    for hypothesis in found:
        assert 3 <= len(hypothesis.ids) <= 5
        assert min(hypothesis.ids) > EOS


def test_further_ids_can_be_kept_from_every_reply() -> None:
    model = tiny_model(20)
    for found in decode(model, torch.randn(20, model.config.state_size), GREEDY, speech=Speech((0, 1, 2, 7, 9))):
        assert not {7, 9} & set(found[0].ids)


MARKED = Speech(words=frozenset({A}), marks=(B, C))


def test_a_sentence_ends_with_the_likeliest_mark_and_is_as_likely_as_without() -> None:
    follows = {"": row(1, 0, 0, 0), "A": row(0.2, 0.1, 0.2, 0.5)}
    [[found]] = decode(
        TableModel(follows, row(1, 0, 0, 0)), torch.zeros(1, 1), replace(GREEDY, closing_mark=True), speech=MARKED
    )
    assert spell(found) == "AC"
    assert found.log_probability == pytest.approx(math.log(0.5))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"closing_mark": False}, "A"),
        ({"max_tokens": 1}, "A"),  # it is cut, and has not ended
        ({"min_tokens": 2}, "AB"),  # it has its mark
    ],
)
def test_a_reply_gets_no_mark_where_it_wants_or_needs_none(changes: dict[str, Any], said: str) -> None:
    follows = {"": row(1, 0, 0, 0), "A": row(0.0, 0.3, 0.2, 0.5)}
    config = replace(GREEDY, **{"closing_mark": True, **changes})
    [[found]] = decode(TableModel(follows, row(0.0, 0.0, 0.0, 1.0)), torch.zeros(1, 1), config, speech=MARKED)
    assert spell(found) == said


def test_what_a_vocabulary_holds_of_marks_and_of_words_that_need_one() -> None:
    vocabulary = Vocabulary(["<pad>", "<unk>", "<bos>", "<eos>", "Anna", "'s", J + "!", "!", "\u200b", J + "."])
    assert vocabulary.speech() == Speech((0, 1, 2, 8), frozenset({4, 5}), (9, 6))  # those that join the word before


NO_B_AFTER_A = Speech(debris=Debris(after={(A,): frozenset({B})}, cues=frozenset({A})))


@pytest.mark.parametrize("config", [GREEDY, BEAM, DecodingConfig(candidates=20)])
def test_debris_is_never_decoded(config: DecodingConfig) -> None:
    model = TableModel({"": row(0.6, 0.2, 0.1, 0.1)}, row(0.3, 0.4, 0.2, 0.1))
    config = replace(config, no_repeat_ngram=0, max_tokens=10)
    [found], [free] = (decode(model, torch.zeros(1, 1), config, speech=one) for one in (NO_B_AFTER_A, Speech()))
    assert not any("AB" in spell(hypothesis) for hypothesis in found)
    assert any("AB" in spell(hypothesis) for hypothesis in free)


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_reply_does_not_reach_its_limit_with_a_word_that_must_not_end_it(limit: int) -> None:
    open_words = Speech(debris=Debris({(B,): frozenset({EOS})}, {(): frozenset({B})}, frozenset({B})))
    config = replace(GREEDY, max_tokens=limit, no_repeat_ngram=0)
    [[found]] = decode(TableModel({}, row(0.1, 0.8, 0.05, 0.05)), torch.zeros(1, 1), config, speech=open_words)
    assert spell(found) == "B" * (limit - 1) + "A"


@given(st.lists(st.integers(4, 7), max_size=30).map(tuple), st.integers(1, 4))
def test_the_tokens_blocked_are_the_last_and_those_that_would_repeat_an_ngram(ids: tuple[int, ...], n: int) -> None:
    repeating = {token for token in range(4, 8) if (*ids, token)[len(ids) - n + 1 :] in ngrams(ids, n)}
    assert repeating_tokens(ids, n) == (repeating if len(ids) >= n - 1 else set()) | set(ids[-1:])


def test_a_retrieved_response_must_be_better_by_a_margin_and_relevant_enough() -> None:
    own, response = Hypothesis((A, B), -6.0), Hypothesis((B, C), -3.0, source="retrieved")
    config = DecodingConfig(
        candidates=2, retrieved=1, length_penalty=0.0, retrieved_margin=2.0, retrieved_relevance=5.0
    )

    def taken(margin: float, relevance: float) -> Hypothesis:
        return best_first([own, response], replace(config, retrieved_margin=margin), [0.0, relevance])[0].hypothesis

    assert taken(2.9, 5.0) == response
    assert taken(3.1, 5.0) == taken(2.9, 4.9) == own


def test_a_sample_that_was_cut_off_is_said_only_where_there_is_nothing_better() -> None:
    config = DecodingConfig(candidates=3, max_tokens=3)
    cut, again, whole = Hypothesis((A, B, C), -1.0), Hypothesis((A, C), -1.0), Hypothesis((B,), -9.0)
    chosen = best_first([cut, again, whole], config, [0.0] * 3, earlier=[(A, C)])
    assert [one.hypothesis for one in chosen] == [whole, cut, again]


@pytest.mark.parametrize("config", [GREEDY, BEAM, DecodingConfig(candidates=20)])
def test_no_ngram_comes_twice_in_a_reply(config: DecodingConfig) -> None:
    parrot = TableModel({}, row(0.9, 0.05, 0.05, 0.001))
    [found] = decode(parrot, torch.zeros(1, 1), replace(config, no_repeat_ngram=2, max_tokens=20))
    for hypothesis in found:
        assert len(ngrams(hypothesis.ids, 2)) == len(hypothesis.ids) - 1


def test_a_reply_with_nothing_left_to_say_ends_instead_of_producing_a_tag() -> None:
    config = replace(GREEDY, no_repeat_ngram=1, min_tokens=10, max_tokens=20)
    [[found]] = decode(TableModel({}, row(0.5, 0.3, 0.1, 0.1)), torch.zeros(1, 1), config)
    assert spell(found) == "ABC"


def test_samples_come_as_often_as_their_probability_says() -> None:
    probabilities = row(0.55, 0.25, 0.15, 0.05)
    config = DecodingConfig(candidates=8000, max_tokens=1)
    [found] = decode(TableModel({}, probabilities), torch.zeros(1, 1), config)
    counts = Counter(hypothesis.ids[0] for hypothesis in found)
    for token in (A, B, C):  # EOS is not allowed first, so the others share its probability
        assert counts[token] / 8000 == pytest.approx(probabilities[token] / 0.95, abs=0.02)


def test_a_high_temperature_flattens_and_a_low_one_sharpens() -> None:
    log_p = np.log([[0.6, 0.3, 0.1]])
    assert sampling_probabilities(log_p, DecodingConfig(temperature=0.5))[0] == pytest.approx(
        np.array([0.36, 0.09, 0.01]) / 0.46
    )
    assert sampling_probabilities(log_p, DecodingConfig(temperature=1e6))[0] == pytest.approx([1 / 3] * 3, abs=1e-5)
    assert sampling_probabilities(log_p, DecodingConfig(temperature=1e-3))[0] == pytest.approx([1, 0, 0])


@settings(max_examples=200)
@given(
    st.lists(st.floats(0.001, 1), min_size=1, max_size=12),
    st.integers(0, 12),
    st.floats(0.01, 1),
)
def test_top_k_and_top_p_keep_exactly_the_set_they_define(weights: list[float], k: int, p: float) -> None:
    probabilities = np.sort(np.array(weights) / sum(weights))[::-1]
    kept = probabilities[: k or None]
    share = kept / kept.sum()
    fewest = next((n for n in range(1, len(kept) + 1) if share[:n].sum() >= p), len(kept))
    found = sampling_probabilities(np.log(probabilities)[None], DecodingConfig(top_k=k, top_p=p))[0]
    nearest = np.abs(share.cumsum() - p).min()
    if nearest > 1e-9:  # on the very edge rounding decides
        assert np.count_nonzero(found) == fewest
        assert found[:fewest] == pytest.approx(kept[:fewest] / kept[:fewest].sum())


def test_a_seed_fixes_the_samples() -> None:
    model = tiny_model(40)
    states = torch.randn(3, model.config.state_size, generator=torch.Generator().manual_seed(5))
    once, again, other = (decode(model, states, DEFAULT, seed=seed) for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_many_states_are_decoded_a_batch_at_a_time_and_come_back_in_order() -> None:
    model = tiny_model(40)
    states = torch.randn(50, model.config.state_size, generator=torch.Generator().manual_seed(6))
    whole = decode(model, states, GREEDY, max_batch=64)
    in_parts = decode(model, states, GREEDY, max_batch=7)
    assert [found[0].ids for found in whole] == [found[0].ids for found in in_parts]


def test_what_was_said_earlier_is_not_said_again() -> None:
    config = DecodingConfig(candidates=50, max_tokens=1)
    table = TableModel({"": row(0.6, 0.3, 0.1, 0.0)}, row(0.0, 0.0, 0.0, 1.0))
    earlier = [[], [[C], [A]], [[A], [B]]]
    found = decode(table, torch.zeros(3, 1), config, earlier=earlier)
    assert [spell(hypotheses[0]) for hypotheses in found] == ["A", "B", "C"]


def test_the_score_is_mutual_information_and_relevance_less_repetition() -> None:
    config = DecodingConfig(
        method="beam",
        length_penalty=1.0,
        mmi_lambda=0.5,
        relevance_weight=2.0,
        repetition_weight=3.0,
        no_repeat_ngram=2,
    )
    hypothesis = Hypothesis((A, B, C), log_probability=-6.0, log_prior=-4.0)
    assert rate(hypothesis, config).score == pytest.approx((-6 + 0.5 * 4) / 4)
    said = ngrams((A, B, B), 2)  # holds one of the reply's two bigrams
    assert rate(hypothesis, config, relevance=0.25, said=said)[1:4] == pytest.approx((-1 + 0.5 - 1.5, 0.25, 0.5))


def test_a_word_for_word_repeat_is_chosen_only_where_there_is_nothing_else() -> None:
    config = DecodingConfig(candidates=3)
    likely, unlikely = Hypothesis((A,), -0.1), Hypothesis((B, C), -9.0)
    assert first([likely, unlikely], config) == likely
    assert first([likely, unlikely], config, earlier=[[C], [A]]) == unlikely
    assert first([likely], config, earlier=[[A]]) == likely


def first(hypotheses: list[Hypothesis], config: DecodingConfig, **more: Any) -> Hypothesis:
    return best_first(hypotheses, config, [0.0] * len(hypotheses), **more)[0].hypothesis


def test_relevance_decides_between_equally_likely_candidates() -> None:
    config = replace(DEFAULT, relevance_weight=1.0)
    pair = [Hypothesis((A,), -1.0), Hypothesis((B,), -1.0)]
    assert [rated.hypothesis for rated in best_first(pair, config, [0.1, 0.9])] == pair[::-1]


def test_a_model_that_gives_no_numbers_is_an_error_and_no_search_has_moved() -> None:
    model = tiny_model(20)
    states = torch.randn(2, model.config.state_size)
    states[1] = math.nan
    searches = start_searches(model, states, [GREEDY, GREEDY], [None, None])
    with pytest.raises(FloatingPointError, match="broken"):
        step(model, searches)
    assert [search.live for search in searches] == [[Hypothesis()], [Hypothesis()]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "magic"},
        {"beam_size": 0},
        {"candidates": 0},
        {"method": "greedy", "candidates": 2},
        {"temperature": 0.0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"length_penalty": -1.0},
        {"min_tokens": 0},
        {"min_tokens": 9, "max_tokens": 8},
    ],
)
def test_an_impossible_configuration_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"must|only"):
        DecodingConfig(**wrong)


def test_a_finished_batch_takes_no_further_step() -> None:
    model = lecture_table()
    [search] = start_searches(model, torch.zeros(1, 1), [GREEDY], [None])
    while not search.is_done:
        step(model, [search])
    steps = len(model.rows_seen)
    step(model, [search])
    assert len(model.rows_seen) == steps
    assert PAD not in search.ended[0].ids
