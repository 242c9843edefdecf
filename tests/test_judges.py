"""The two judges: trained apart, by the ordinary way, and asked in their own words."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from chatbot.checkpoint import load_checkpoint
from chatbot.cli import main
from chatbot.decoding.utterances import log_probabilities
from data.preparation import PrepareConfig, prepare
from data.tokenizer import tokenise
from tests.tiny_checkpoint import tiny_checkpoint
from training import train
from training.judges import EVALUATOR, LANGUAGE_MODEL, NOBODY, fluency, load_judges, relevance, train_judges
from training.scoring import hear

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "prepared"
    prepare([str(SAMPLES)], folder, PrepareConfig(vocabulary_size=200))
    return folder


def test_both_are_trained_on_the_other_half_and_passed_over_once_they_are_there(prepared, tmp_path, monkeypatch):
    recipes = []
    run_stage = train._run_stage
    monkeypatch.setattr(train, "_run_stage", lambda *given: recipes.append(given[5]) or run_stage(*given))
    train_judges(prepared, tmp_path, Console(file=io.StringIO()), target_tokens=1)
    judges = load_judges(tmp_path)
    assert judges.evaluator.model.config.kind == "hred"
    assert judges.language_model.model.config.kind == "language-model"
    assert [recipe.corpus.half for recipe in recipes] == ["second", "second"]
    assert [recipe.word2vec for recipe in recipes] == [None, None]
    assert len({recipe.seed for recipe in recipes} - {0}) == 1

    train_judges(prepared, tmp_path, Console(file=io.StringIO()), target_tokens=1)
    assert load_judges(tmp_path).evaluator.id == judges.evaluator.id


def test_a_folder_without_judges_has_nobody_and_one_judge_is_found_alone(tmp_path):
    assert load_judges(tmp_path) == NOBODY
    judge = tiny_checkpoint(tmp_path / LANGUAGE_MODEL / "checkpoint", kind="language-model")
    assert load_judges(tmp_path).language_model.id == judge.id
    assert load_judges(tmp_path).evaluator is None


def test_relevance_is_that_of_each_reply_to_its_context(tmp_path):
    judge = tiny_checkpoint(tmp_path / EVALUATOR)
    contexts = [[tokenise("Hello there")], [tokenise("What is your name?"), tokenise("I like music")]]
    replies = [[tokenise("Yes!"), tokenise("No.")], [tokenise("I am fine"), tokenise("Hello")]]
    found = relevance(judge, contexts, replies)
    state = hear(
        judge.model, [[judge.vocabulary.encode("What is your name?"), judge.vocabulary.encode("I like music")]]
    )
    reply = torch.tensor([[*judge.vocabulary.encode("I am fine"), 3]])
    vector = judge.model.encode(reply, torch.tensor([reply.shape[1]]))
    assert found.shape == (2, 2)
    assert found[1, 0] == pytest.approx(float(judge.model.relevance(state, vector)), rel=1e-4)


def test_fluency_is_the_mean_over_tokens_and_the_end_of_a_reply_said_first(tmp_path):
    judge = load_checkpoint(tiny_checkpoint(tmp_path / "judge", kind="language-model").folder)
    text = "I like films, do you?"
    ids = judge.vocabulary.encode(text)
    whole = log_probabilities(judge.model, judge.model.initial_state(1), [ids])
    assert fluency(judge, [tokenise("Yes!"), tokenise(text)])[1] == pytest.approx(float(whole[0]) / (len(ids) + 1))
    assert np.isfinite(fluency(judge, [tokenise("Words unheard of")])).all()


def test_a_folder_that_was_not_prepared_makes_no_judges(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(main, ["judges", str(tmp_path)])
    assert result.exit_code == 2
    assert "make" in result.stderr
    assert "`chatbot prepare`" in result.stderr
    assert not (tmp_path / "home").exists()
