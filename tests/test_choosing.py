"""The chooser: what it reads, what it is worth, how it learns; and the written responses it chooses among."""

import json
import lzma
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from safetensors.numpy import load_file, save_file

from chatbot.checkpoint import Checkpoint, load_checkpoint
from chatbot.choosing.asking import Asking
from chatbot.choosing.facts import Facts
from chatbot.choosing.network import TURNS, Chooser, ChooserConfig, ask
from chatbot.choosing.plain import PLAIN, PlainReplies
from chatbot.choosing.responses import RESPONSES, Exchange, OwnResponses, exchanges_of, load_responses, save_responses
from chatbot.choosing.sense import Sense, SenseJudge
from chatbot.choosing.storing import CHOOSER, save_chooser
from chatbot.cli import main
from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.ranking import best_first, first_sentences, ranked
from chatbot.engine import ChatEngine
from chatbot.reply import DEFAULT, DecodingConfig, ReplyRequest
from chatbot.shelf import CheckpointError, identify
from data.cleaning import normalise
from data.store import StoreWriter, TokenStore
from data.tokenizer import tokenise
from data.vocabulary import EOS, SPECIALS, UNK, Vocabulary
from tests.tiny_checkpoint import tiny_checkpoint, tiny_model
from training.choosing.examples import Examples
from training.choosing.judgements import Judged, measure, read_judgements
from training.choosing.learning import Learning
from training.choosing.recipe import ChooserRecipe, read_chooser_recipe
from training.choosing.teach import teach_chooser
from training.config import ConfigError, CorpusConfig

SIZE = 40


def tiny_chooser(size: int = SIZE, seed: int = 0) -> Chooser:
    torch.manual_seed(seed)
    chooser = Chooser(ChooserConfig(size, size=8))
    torch.nn.init.normal_(chooser.words.weight)
    return chooser.eval()


def words_of(*texts: str) -> Vocabulary:
    return Vocabulary.from_counts(Counter(word for text in texts for word in tokenise(text)), 200)


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
    judge = SenseJudge(tiny_chooser(len(vocabulary)), (), Asking(vocabulary))
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


# Responses of the chatbot's own conversations

DIALOGUES = [
    ["hello there", "hi! how are you?", "my dog is ill", "oh no. what is the dog called?", "Rex", "poor Rex."],
    ["the cat is ill", "I'm sorry. is it old?", "I like music", "what do you play?"],
]


@pytest.fixture
def words() -> Vocabulary:
    return words_of(*(text for dialogue in DIALOGUES for text in dialogue), "is")


def own_responses(vocabulary: Vocabulary) -> OwnResponses:
    dialogues = [[tuple(vocabulary.encode(text)) for text in dialogue] for dialogue in DIALOGUES]
    return OwnResponses(exchanges_of(dialogues, vocabulary), vocabulary)


def found_by(responses: OwnResponses, vocabulary: Vocabulary, *said: str, count: int = 3) -> list[str]:
    earlier = [vocabulary.encode(text) for text in said]
    return [vocabulary.decode(ids) for ids in responses.find(torch.zeros(1, 1), [earlier], count)[0]]


def test_responses_are_found_by_what_they_answered(words: Vocabulary) -> None:
    responses = own_responses(words)
    assert len(responses) == 5
    assert found_by(responses, words, "my dog is ill")[:2] == [
        "Oh no. What is the dog called?",
        "I'm sorry. Is it old?",
    ]
    assert found_by(responses, words, "I like music", count=1) == ["What do you play?"]
    assert found_by(responses, words, "play") == []


def test_a_response_that_names_somebody_is_found_only_where_the_name_was_said(words: Vocabulary) -> None:
    responses = own_responses(words)
    assert "Poor Rex." not in found_by(responses, words, "Oh no. What is the dog called?", "ill")
    assert "Poor Rex." in found_by(responses, words, "Oh no. What is the dog called?", "Rex")


def test_the_words_of_the_utterance_before_decide_between_like_questions() -> None:
    vocabulary = words_of("a film", "a song", "yes", "which film then?", "which song then?", "so")
    ids = {
        text: tuple(vocabulary.encode(text))
        for text in ("a film", "a song", "yes", "which film then?", "which song then?", "so")
    }
    exchanges = [
        Exchange(ids["a film"], ids["yes"], ids["which film then?"], (False,) * 4),
        Exchange(ids["a song"], ids["yes"], ids["which song then?"], (False,) * 4),
        Exchange((), ids["so"], ids["so"], (False,)),
    ]
    responses = OwnResponses(exchanges, vocabulary)
    assert found_by(responses, vocabulary, "a song", "yes")[0] == "Which song then?"
    assert found_by(responses, vocabulary, "a film", "yes")[0] == "Which film then?"


def test_a_fact_in_a_response_is_replaced_by_the_one_that_was_told_here() -> None:
    vocabulary = words_of("my dog is called Rex and I am a nurse in Berlin", "how old is Rex?", "so you are a baker?")
    vocabulary = Vocabulary([*vocabulary.tokens, "Bella", "Leeds", "teacher", "cat"])
    ids = [
        tuple(vocabulary.encode(text))
        for text in ("my dog is called Rex", "how old is Rex?", "I am a nurse", "so you are a nurse?")
    ]
    responses = OwnResponses(exchanges_of([ids], vocabulary), vocabulary)
    assert found_by(responses, vocabulary, "my cat is called Bella") == ["How old is Bella?"]
    assert found_by(responses, vocabulary, "my dog is called") == []
    assert found_by(responses, vocabulary, "I am a teacher") == ["So you are a teacher?"]
    assert found_by(responses, vocabulary, "a teacher", "so", "I am in Leeds") == ["So you are a teacher?"]


def test_a_word_that_nobody_told_the_chatbot_is_its_own() -> None:
    vocabulary = words_of("what do you like", "I like the blue sea", "red is fine")
    said = ("what do you like", "I like the blue sea", "red", "fine")
    ids = [tuple(vocabulary.encode(text)) for text in said]
    responses = OwnResponses(exchanges_of([ids], vocabulary), vocabulary)
    assert found_by(responses, vocabulary, "red is fine", "so", "what do you like") == ["I like the blue sea"]


def test_responses_are_read_as_they_were_written(words: Vocabulary, tmp_path: Path) -> None:
    dialogues = [[tuple(words.encode(text)) for text in dialogue] for dialogue in DIALOGUES]
    save_responses(tmp_path, exchanges_of(dialogues, words))
    again = load_responses(tmp_path, words)
    assert again is not None
    for said in ("my dog is ill", "hello there", "I like music"):
        assert found_by(again, words, said) == found_by(own_responses(words), words, said)


@pytest.mark.parametrize("change", ["short", "unknown", "unequal"])
def test_damaged_responses_are_told_in_a_sentence(change: str, tmp_path: Path) -> None:
    checkpoint = checkpoint_with_chooser(tmp_path)
    tensors = load_file(checkpoint.folder / RESPONSES)
    if change == "short":
        tensors["said"] = tensors["said"][:-1]
    elif change == "unknown":
        tensors["said"][0] = 10_000
    else:
        tensors["said_offsets"] = tensors["said_offsets"][[0, -1]]
    save_file(tensors, checkpoint.folder / RESPONSES)
    with pytest.raises(CheckpointError, match="is damaged or of another version"):
        load_checkpoint(checkpoint.folder)


# A checkpoint that has a chooser


def checkpoint_with_chooser(folder: Path) -> Checkpoint:
    checkpoint = tiny_checkpoint(folder / "tiny")
    vocabulary = checkpoint.vocabulary
    ids = [
        tuple(vocabulary.encode(text))
        for text in ("Hello there", "How are you today?", "I am fine", "I like music and films.")
    ]
    save_chooser(checkpoint.folder, tiny_chooser(len(vocabulary)))
    save_responses(checkpoint.folder, exchanges_of([ids], vocabulary))
    return load_checkpoint(checkpoint.folder)


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


def test_plain_replies_stand_beside_the_responses_of_conversations(tmp_path: Path) -> None:
    checkpoint = checkpoint_with_chooser(tmp_path)
    assert checkpoint.responses is not None
    found = checkpoint.responses.find(torch.zeros(1, 1), [[(5, 6)]], 3)[0]
    texts = [checkpoint.vocabulary.decode(ids) for ids in found]
    assert set(texts) & set(PLAIN.read_text("utf-8").splitlines())


def test_the_plain_replies_found_are_those_whose_vectors_fit_best() -> None:
    lines = PLAIN.read_text("utf-8").splitlines()
    vocabulary = words_of(*lines, "My dog died yesterday")
    chooser = tiny_chooser(len(vocabulary))
    plain = PlainReplies(chooser, vocabulary)
    assert len(plain) > 100
    asked = tuple(vocabulary.encode("My dog died yesterday"))
    best, second, third = plain.find([[asked]], 3)[0]
    replies = [ids for line in lines if UNK not in (ids := tuple(vocabulary.encode(normalise(line, vocabulary))))]
    likeness = chooser.likeness_of_all(ask([[asked]], [replies]))[0]
    assert [replies[place] for place in likeness.topk(3).indices] == [best, second, third]


def test_plain_replies_with_words_that_a_vocabulary_lacks_are_left_out() -> None:
    vocabulary = words_of("That's great!", "I hear music")
    plain = PlainReplies(tiny_chooser(len(vocabulary)), vocabulary)
    assert [vocabulary.decode(ids) for ids in plain.find([[(5,)]], 9)[0]] == ["That's great!"]


def test_a_greedy_reply_is_chosen_among_nothing(tmp_path: Path) -> None:
    checkpoint = checkpoint_with_chooser(tmp_path)
    with ChatEngine(checkpoint, DecodingConfig(method="greedy", max_tokens=6)) as engine:
        assert engine.reply(ReplyRequest("I am fine")).candidates == ()


def test_a_damaged_chooser_is_told_in_a_sentence(tmp_path: Path) -> None:
    checkpoint = checkpoint_with_chooser(tmp_path)
    (checkpoint.folder / CHOOSER).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="is damaged or of another version"):
        load_checkpoint(checkpoint.folder)


# Judgements


def written_judgements(folder: Path, *records: dict[str, Any]) -> Path:
    file = folder / "judgements.jsonl.xz"
    with lzma.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in records)
    return file


def record(id: str, context: Sequence[str], **marks: tuple[int, int]) -> dict[str, Any]:
    candidates = [{"text": text, "sensible": s, "specific": p} for text, (s, p) in marks.items()]
    return {"id": id, "context": list(context), "candidates": candidates}


def test_judgements_are_read_as_ids(words: Vocabulary, tmp_path: Path) -> None:
    file = written_judgements(
        tmp_path,
        record("a", ["hello there"], hello=(1, 0), dog=(0, 0)),
        record("b", ["cat"], cat=(1, 1)),
        {"id": "c", "context_sha256": "0" * 64, "candidates": [{"text": "dog"}, {"text": "cat"}]},
    )
    found = read_judgements([file], words)
    assert len(found) == 1  # of a single candidate nothing can be learned
    assert found[0].context == (tuple(words.encode("hello there")),)
    assert (found[0].sensible, found[0].specific) == ((True, False), (False, False))


def test_a_line_without_judgements_is_named(words: Vocabulary, tmp_path: Path) -> None:
    file = written_judgements(tmp_path, record("a", ["hello"], hello=(1, 0), dog=(0, 0)), {"id": "b"})
    with pytest.raises(ValueError, match=r"Line 2 of .*judgements\.jsonl\.xz holds no judgements"):
        read_judgements([file], words)
    with pytest.raises(ValueError, match="cannot be read"):
        read_judgements([tmp_path / "nowhere.jsonl"], words)


def test_what_a_chooser_takes_is_counted() -> None:
    first = Judged(((5,),), ((6,), (7,)), (True, False), (True, False), True)
    second = Judged(((5,),), ((6,), (7,), (8,)), (False, True, True), (False, True, False), True)
    none = Judged(((5,),), ((6,), (7,)), (False, False), (False, False), True)
    found = measure([first, second, none], [[0.9, 0.1], [0.6, 0.5, 0.7], [0.1, 0.2]])
    assert found == (3, pytest.approx(2 / 3), pytest.approx(1 / 3), pytest.approx(2 / 3), pytest.approx((1 + 0.5) / 2))


# Learning

JUDGED = [Judged(((5 + n, 9),), ((20 + n,), (39 - n,)), (True, False), (True, False), False) for n in range(8)]


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    with StoreWriter(tmp_path / "store") as writer:
        for n in range(12):
            tokens = np.array([5 + n, 9, 20 + n, 9, 5 + n, 20 + n, 9])
            writer.extend(tokens, np.array([2, 1, 2, 2]), np.array([4]))
    return TokenStore.open(tmp_path / "store")


def recipe(folder: Path, **changes: Any) -> ChooserRecipe:
    steps = {"likeness_steps": 10, "comparison_steps": 10, "passes": 20, "size": 8} | changes
    return ChooserRecipe(folder, CorpusConfig(folder / "prepared"), **steps)


def test_examples_are_a_dialogues_own(store: TokenStore) -> None:
    dialogues = [[ids.tolist() for ids in store[place]] for place in range(len(store))]
    for one in Examples(store).draw(np.random.default_rng(0), 50):
        said = [*one.context, one.response]
        own = next(dialogue for dialogue in dialogues if said[-1] in dialogue and said[0] in dialogue)
        assert len(said) > 1
        assert str(said)[1:-1] in str(own)
        assert one.response not in one.near
        assert all(ids in own for ids in one.near)


def test_a_chooser_learns_what_readers_call_sensible(store: TokenStore, tmp_path: Path) -> None:
    chooser = tiny_chooser()
    quick = recipe(tmp_path, passes=100, judgement_rate=0.01)
    Learning(chooser, Examples(store), JUDGED, quick, tmp_path / "run").run(Console(quiet=True))
    senses = SenseJudge(chooser, ()).judge([one.context for one in JUDGED], [one.candidates for one in JUDGED])
    assert all(right.sensible > wrong.sensible for right, wrong in senses)


@pytest.mark.parametrize("at", [5, 15, 40])
def test_learning_that_was_stopped_goes_on_as_if_it_had_not_been(at: int, store: TokenStore, tmp_path: Path) -> None:
    through = tiny_chooser()
    Learning(through, Examples(store), JUDGED, recipe(tmp_path), tmp_path / "through").run(Console(quiet=True))
    stopped = Learning(tiny_chooser(), Examples(store), JUDGED, recipe(tmp_path), tmp_path / "stopped")
    stopped.chooser.train()
    steps = stopped._steps(lambda: None)
    for _ in range(at):
        next(steps)
    stopped._save()
    again = tiny_chooser(seed=5)
    Learning(again, Examples(store), JUDGED, recipe(tmp_path), tmp_path / "stopped").run(Console(quiet=True))
    for name, value in through.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


def test_a_chooser_that_continues_learns_from_judgements_alone(store: TokenStore, tmp_path: Path) -> None:
    learning = Learning(tiny_chooser(), Examples(store), JUDGED, recipe(tmp_path, continues=True), tmp_path / "run")
    learning.run(Console(quiet=True))
    assert learning.position.step == 40  # 20 passes over 8 contexts, of which 6 are learned at once


def test_a_checkpoint_without_a_chooser_has_none_to_continue(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny")
    prepared = tmp_path / "prepared"
    with StoreWriter(prepared / "dialogues" / "train") as writer:
        writer.extend(np.array([5, 6, 7, 8]), np.array([2, 2]), np.array([2]))
    checkpoint.vocabulary.save(prepared / "vocabulary.json")
    continuing = replace(recipe(tmp_path, continues=True), start=str(checkpoint.folder))
    with pytest.raises(ValueError, match="has no chooser to go on from"):
        teach_chooser(continuing, Console(quiet=True))


def test_a_recipe_of_a_chooser_with_a_wrong_key_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "chooser.toml"
    file.write_text('run = "r"\nfoo = 3\n[corpus]\nprepared = "p"\n')
    with pytest.raises(ConfigError, match="there is no key 'foo'"):
        read_chooser_recipe(file)
    result = CliRunner().invoke(main, ["chooser", str(file)])
    assert result.exit_code == 2
    assert "there is no key 'foo'" in result.output


def test_a_corpus_prepared_with_other_words_is_refused_in_a_sentence(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny")
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    words_of("other words").save(prepared / "vocabulary.json")
    with pytest.raises(ValueError, match="was prepared with other words"):
        teach_chooser(replace(recipe(tmp_path), start=str(checkpoint.folder)), Console(quiet=True))


def test_what_a_judge_chooses_among_is_found_without_the_prior(tmp_path: Path) -> None:
    checkpoint = checkpoint_with_chooser(tmp_path)
    decoding = replace(DEFAULT, candidates=2, written=0, retrieved=0, max_tokens=6)
    with ChatEngine(checkpoint, decoding) as engine:
        reply = engine.reply(ReplyRequest("I am fine", seed=1))
    assert {one.log_prior for one in reply.candidates} == {0.0}
    assert any(one.log_probability < 0 for one in reply.candidates)


def test_a_name_is_what_somebody_is_called_and_not_any_word_after_a_question_for_it() -> None:
    frequent = [f"w{number}" for number in range(500)]  # names are rare words
    said = ("what is her name", "she is called Pim", "yes she goes to school", "Pim", "Rex")
    vocabulary = Vocabulary([*SPECIALS, *frequent, *dict.fromkeys(" ".join(said).split())])
    dialogue = ("she is called Pim", "what is her name", "yes she goes to school")
    kinds = Facts(vocabulary).known([vocabulary.encode(text) for text in dialogue])
    assert kinds[vocabulary.id_of("goes")] == ""
    asked = [vocabulary.encode(text) for text in ("Rex", "what is her name", "Pim")]
    assert Facts(vocabulary).known(asked)[vocabulary.id_of("Pim")] == "name"
    told = [vocabulary.encode("she is called Pim")]
    assert Facts(vocabulary).known(told)[vocabulary.id_of("Pim")] == "name"
