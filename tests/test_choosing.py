"""The chooser: how it reads, what it gives, and the choice by it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from chatbot.checkpoint import load_checkpoint
from chatbot.choosing.facts import Facts
from chatbot.choosing.network import TURNS, ask
from chatbot.choosing.sense import Sense, SenseJudge
from chatbot.choosing.storing import CHOOSER
from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.ranking import best_first, first_sentences, ranked
from chatbot.engine import ChatEngine
from chatbot.reply import DEFAULT, DecodingConfig, ReplyRequest
from chatbot.shelf import CheckpointError, identify
from data.vocabulary import EOS, UNK
from tests.tiny_checkpoint import tiny_checkpoint, tiny_model
from tests.tiny_chooser import SIZE, checkpoint_with_chooser, tiny_chooser, words_of

# What the chooser reads


def test_a_dialogue_is_read_with_how_many_turns_ago_each_word_was_said() -> None:
    question = ask([[[5], [6, 7]]], [[[8], [9, 9]]])
    assert question.context.tolist() == [[EOS, 5, EOS, 6, 7, EOS]]
    assert question.turns.tolist() == [[TURNS - 1, 1, 1, 0, 0, 0]]
    assert question.candidates.tolist() == [[8, EOS, 0], [9, 9, EOS]]
    assert question.owners.tolist() == [0, 0]


def test_of_what_is_too_long_the_end_is_read() -> None:
    long = list(range(100, 200))
    question = ask([[long, long, [6]]], [[long]])
    assert question.context.shape[1] == 40
    assert question.context[0, -3:].tolist() == [EOS, 6, EOS]
    assert question.context[0, -4] == 199
    assert question.candidates.shape[1] == 28
    assert question.candidates[0, -1] == EOS


def test_what_the_chooser_says_of_a_candidate_does_not_depend_on_what_else_is_in_the_batch() -> None:
    chooser = tiny_chooser()
    alone = chooser(ask([[[5, 6]]], [[[7, 8]]]))
    beside = chooser(ask([[[9] * 20, [4] * 9], [[5, 6]]], [[[4] * 20], [[7, 8], [9] * 12]]))
    torch.testing.assert_close(beside[1:2], alone)


def test_pairs_of_other_owners_are_those_of_separate_questions() -> None:
    chooser = tiny_chooser()
    question = ask([[[5, 6]], [[9]]], [[[7, 8]], [[4, 4]]])
    crossed = chooser(question, (torch.tensor([0, 1]), torch.tensor([1, 0])))
    torch.testing.assert_close(crossed, chooser(ask([[[5, 6]], [[9]]], [[[4, 4]], [[7, 8]]])))


def test_words_that_a_retrained_checkpoint_has_learned_since_are_unknown_to_it() -> None:
    chooser = tiny_chooser()
    torch.testing.assert_close(chooser(ask([[[SIZE + 3]]], [[[7]]])), chooser(ask([[[UNK]]], [[[7]]])))


def test_a_judge_gives_each_candidate_of_each_dialogue_its_probabilities() -> None:
    chooser = tiny_chooser()
    senses = SenseJudge(chooser, ()).judge([[[5]], [[6]], [[7]]], [[[8], [9, 9], [8]], [], [[8]]])
    assert [len(group) for group in senses] == [3, 0, 1]
    assert senses[0][0] == senses[0][2]
    sensible, specific = chooser(ask([[[5]]], [[[8]]]))[0].sigmoid().tolist()
    assert senses[0][0] == pytest.approx((sensible, min(sensible, specific)), rel=1e-4)
    assert SenseJudge(chooser, ()).judge([[[5]]], [[]]) == [[]]


# The choice


def test_sense_is_preferred_to_likelihood() -> None:
    likely, sensible = Hypothesis((5, 6), -0.1), Hypothesis((7,), -30.0)
    chosen = best_first([likely, sensible], DEFAULT, [9.0, 0.0], senses=[Sense(0.2, 0.1), Sense(0.5, 0.1)])
    assert [one.hypothesis for one in chosen] == [sensible, likely]
    assert chosen[0].score == pytest.approx(0.5 + 0.5 * 0.1)
    assert chosen[0].sense == Sense(0.5, 0.1)


class Recording(SenseJudge):
    """Keeps the contexts that it is asked about."""

    def judge(self, contexts: Any, groups: Any) -> list[list[Sense]]:
        self.contexts = [list(context) for context in contexts]
        return super().judge(contexts, groups)


def test_replies_given_before_are_no_part_of_the_dialogue_and_are_not_given_again() -> None:
    model, judge = tiny_model(SIZE), Recording(tiny_chooser(), ())
    group = [Hypothesis((5, 6)), Hypothesis((7, 8))]
    states = model.initial_state(1)
    first = ranked(model, states, [group], [DEFAULT], [[[9]]], judge, [[]])[0][0].hypothesis.ids
    second = ranked(model, states, [group], [DEFAULT], [[[9]]], judge, [[first]])[0][0].hypothesis.ids
    assert judge.contexts == [[[9]]]
    assert second != first


def gains_of(words: str, earlier: Sequence[str], replies: Sequence[Hypothesis | str]) -> list[float]:
    """By how much the scores of replies differ from what they are without a margin."""
    vocabulary = words_of(words)
    judge = SenseJudge(tiny_chooser(len(vocabulary)), (), Facts(vocabulary))
    group = [one if isinstance(one, Hypothesis) else Hypothesis(tuple(vocabulary.encode(one))) for one in replies]
    said, model = [vocabulary.encode(text) for text in earlier], tiny_model(len(vocabulary))
    scores = []
    for decoding in (
        replace(DEFAULT, itself_margin=0.0, recall_margin=0.0),
        replace(DEFAULT, itself_margin=7.0, recall_margin=3.0),
    ):
        rated = ranked(model, model.initial_state(1), [group], [decoding], [said], judge)[0]
        scores.append({one.hypothesis: one.score for one in rated})
    return [round(scores[1][one] - scores[0][one], 3) for one in group]


WORDS = "are you married ? yes no I am so is it it's what my name Anna your we live in London town"


def test_what_the_network_says_of_the_chatbot_is_trusted_less() -> None:
    assert gains_of(WORDS, ["are you married?"], ["yes", "no"]) == [-7, -7]
    assert gains_of(WORDS, ["is it so?"], ["yes", "I am"]) == [0, -7]
    vocabulary = words_of(WORDS)
    written = [Hypothesis(tuple(vocabulary.encode(text)), source="written") for text in ("yes", "no")]
    assert gains_of(WORDS, ["are you married?"], written) == [0, 0]


def test_a_reply_gains_by_telling_the_fact_that_is_asked_for() -> None:
    told = ["I live in London", "yes", "what town is my town?"]
    assert gains_of(WORDS, told, ["your town is London", "it's so"]) == [3, 0]
    assert gains_of(WORDS, [*told[:2], "yes"], ["your town is London", "it's so"]) == [0, 0]


def test_what_was_said_before_is_not_said_again_however_sensible() -> None:
    again, other = Hypothesis((5, 6)), Hypothesis((7,))
    senses = [Sense(0.9, 0.9), Sense(0.1, 0.0)]
    assert best_first([again, other], DEFAULT, [0, 0], [[5, 6]], senses)[0].hypothesis == other
    overlapping = Hypothesis((5, 6, 8, 9))
    close = [Sense(0.5, 0.0), Sense(0.45, 0.0)]
    assert best_first([overlapping, other], DEFAULT, [0, 0], [[5, 6, 8, 4]], close)[0].hypothesis == other


def test_the_first_sentence_of_a_longer_candidate_is_a_candidate() -> None:
    mark = 3 + 1
    group = [Hypothesis((5, mark, 6, mark)), Hypothesis((7, mark)), Hypothesis((8, mark, mark)), Hypothesis((5, 9))]
    found = first_sentences([*group, Hypothesis((7, mark, 9))], {mark})
    assert [(one.ids, one.source) for one in found] == [((5, mark), "shortened")]


def test_a_judge_chooses_among_candidates_and_their_first_sentences() -> None:
    mark = 4
    judge = SenseJudge(tiny_chooser(), [mark])
    groups = [[Hypothesis((5, mark, 6)), Hypothesis((7,))]]
    found = ranked(tiny_model(SIZE), torch.zeros(1, 10), groups, [DEFAULT], [[[9]]], judge)[0]
    assert {one.hypothesis.ids for one in found} == {(5, mark, 6), (7,), (5, mark)}
    every = [(5, mark, 6), (7,), (5, mark)]
    senses = dict(zip(every, judge.judge([[[9]]], [every])[0], strict=True))
    assert all(one.sense == senses[one.hypothesis.ids] for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


# A checkpoint that has a chooser


def test_a_chooser_makes_another_checkpoint_of_it(tmp_path: Path) -> None:
    before = tiny_checkpoint(tmp_path / "before")
    after = checkpoint_with_chooser(tmp_path)
    assert before.judge is before.responses is None
    assert after.judge is not None
    assert after.responses is not None
    assert len(after.responses) == 2
    assert after.id != before.id
    assert after.id == identify(after.folder)


def test_a_written_response_is_among_the_candidates_and_can_be_the_reply(tmp_path: Path) -> None:
    checkpoint = checkpoint_with_chooser(tmp_path)
    decoding = replace(DEFAULT, candidates=2, written=2, retrieved=0, max_tokens=6)
    with ChatEngine(checkpoint, decoding) as engine:
        reply = engine.reply(ReplyRequest("I am fine", ("Hello there", "How are you today?"), seed=1))
    assert "I like music and films." in {one.text for one in reply.candidates if one.source == "written"}
    assert all(one.sensible is not None and one.specific is not None for one in reply.candidates)
    assert reply.text == reply.candidates[0].text
    assert reply.is_retrieved is False


def test_a_greedy_reply_is_chosen_among_nothing(tmp_path: Path) -> None:
    checkpoint = checkpoint_with_chooser(tmp_path)
    with ChatEngine(checkpoint, DecodingConfig(method="greedy", max_tokens=6)) as engine:
        assert engine.reply(ReplyRequest("I am fine")).candidates == ()


def test_a_damaged_chooser_is_told_in_a_sentence(tmp_path: Path) -> None:
    checkpoint = checkpoint_with_chooser(tmp_path)
    (checkpoint.folder / CHOOSER).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="is damaged or of another version"):
        load_checkpoint(checkpoint.folder)


def test_what_a_judge_chooses_among_is_found_without_the_prior(tmp_path: Path) -> None:
    checkpoint = checkpoint_with_chooser(tmp_path)
    decoding = replace(DEFAULT, candidates=2, written=0, retrieved=0, max_tokens=6)
    with ChatEngine(checkpoint, decoding) as engine:
        reply = engine.reply(ReplyRequest("I am fine", seed=1))
    assert {one.log_prior for one in reply.candidates} == {0.0}
    assert any(one.log_probability < 0 for one in reply.candidates)
