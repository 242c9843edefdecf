import io
import json
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from chatbot.checkpoint import load_checkpoint
from chatbot.model import HRED, ModelConfig
from data.store import StoreWriter, TokenStore
from data.vocabulary import SPECIALS, Vocabulary
from tests.tiny_checkpoint import tiny_model
from training.config import StageConfig
from training.curves import RECALL
from training.loop import OVER_OWN, Stage, _recall, perplexities

_VOCABULARY = Vocabulary([*SPECIALS, *"abcdefgh"])


@pytest.fixture
def store(tmp_path):
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 5, size=60)
    with StoreWriter(tmp_path / "store") as writer:
        writer.extend(generator.integers(4, 12, size=lengths.sum()), lengths, np.full(20, 3))
    return TokenStore.open(tmp_path / "store")


def stage(store, folder: Path, seed: int = 0, **changes: object) -> Stage:
    torch.manual_seed(0)
    sizes = {"embedding_size": 8, "encoder_size": 8, "state_size": 8, "decoder_size": 8, **changes.pop("sizes", {})}
    defaults = {"target_tokens": 600, "batch_size": 4, "validate_every": 150, "patience": 100, "word_dropout": 0.1}
    config = StageConfig(**{**defaults, **changes})
    model = HRED(ModelConfig(len(_VOCABULARY), **sizes))
    return Stage("train", config, model, _VOCABULARY, store, store, folder, "float32", seed)


def quiet() -> Console:
    return Console(file=io.StringIO())


class Interrupted(Exception):
    pass


def crash_at(stage: Stage, step: int) -> None:
    """Runs a stage until a step."""
    take = stage._step

    def step_or_stop(batch: object) -> None:
        if stage.position.step == step:
            raise Interrupted
        take(batch)

    stage._step = step_or_stop
    with pytest.raises(Interrupted):
        stage.run(quiet())


def press_ctrl_c(stage: Stage, step: int, times: int = 1) -> None:
    """Runs a stage until Ctrl-C is pressed in the midst of a step: the weights have changed, nothing is counted."""
    take = stage.optimiser.step

    def step_and_press() -> None:
        take()
        for _ in range(times if stage.position.step == step else 0):
            signal.raise_signal(signal.SIGINT)

    stage.optimiser.step = step_and_press
    with pytest.raises(KeyboardInterrupt):
        stage.run(quiet())


def weights(model: HRED) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("changes", [{}, {"carry_state": True, "max_turns": 2, "reinjection": 0.5}], ids=str)
def test_a_stage_stopped_by_ctrl_c_ends_as_if_it_had_never_stopped(store, tmp_path, changes):
    whole = stage(store, tmp_path / "whole", **changes)
    whole.run(quiet())
    press_ctrl_c(stage(store, tmp_path / "stopped", **changes), 7)
    resumed = stage(store, tmp_path / "stopped", **changes)
    assert resumed.position.step == 8
    resumed.run(quiet())
    torch.testing.assert_close(weights(resumed.model), weights(whole.model), rtol=0, atol=0)
    assert resumed.position.target_tokens == whole.position.target_tokens


def test_ctrl_c_waits_for_the_end_of_a_validation(store, tmp_path, monkeypatch):
    def judge_and_press(*arguments):
        signal.raise_signal(signal.SIGINT)
        return perplexities(*arguments)

    monkeypatch.setattr("training.loop.perplexities", judge_and_press)
    with pytest.raises(KeyboardInterrupt):
        stage(store, tmp_path / "run").run(quiet())
    kept = load_checkpoint(tmp_path / "run" / "kept")
    assert kept.metrics["target_tokens"] == stage(store, tmp_path / "run").position.validated_at > 0


def test_a_second_ctrl_c_waits_for_nothing(store, tmp_path):
    press_ctrl_c(stage(store, tmp_path / "run"), 3, times=2)
    assert stage(store, tmp_path / "run").position.step == 0


def test_after_a_stage_ctrl_c_is_what_it_was_before(store, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    stage(store, tmp_path / "run").run(quiet())
    assert signal.getsignal(signal.SIGINT) is before


def test_steps_gone_through_twice_are_recorded_once(store, tmp_path, monkeypatch):
    monkeypatch.setattr("training.loop.Stage._save", lambda _: None)
    crash_at(stage(store, tmp_path / "run"), 12)
    assert (tmp_path / "run" / "metrics.jsonl").is_file()
    stage(store, tmp_path / "run").run(quiet())
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(row)["step"] for row in rows]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("key", ["batch_size", "max_turns"])
def test_a_stage_is_not_carried_on_with_batches_cut_in_another_way(store, tmp_path, monkeypatch, key):
    monkeypatch.setattr("training.resuming.SAVE_SECONDS", 0)
    crash_at(stage(store, tmp_path / "run", carry_state=True), 3)
    with pytest.raises(ValueError, match=f"was begun with {key} = "):
        stage(store, tmp_path / "run", carry_state=True, **{key: 5})


def test_a_stage_that_crashed_goes_on_from_its_last_save(store, tmp_path, monkeypatch):
    monkeypatch.setattr("training.resuming.SAVE_SECONDS", 0)
    whole = stage(store, tmp_path / "whole")
    whole.run(quiet())
    crash_at(stage(store, tmp_path / "crashed"), 9)
    resumed = stage(store, tmp_path / "crashed")
    assert resumed.position.step == 9
    resumed.run(quiet())
    torch.testing.assert_close(weights(resumed.model), weights(whole.model), rtol=0, atol=0)


def test_a_finished_stage_is_passed_over(store, tmp_path):
    first = stage(store, tmp_path / "run")
    best = first.run(quiet())
    again = stage(store, tmp_path / "run")
    torch.testing.assert_close(weights(again.run(quiet())), weights(best))
    assert again.position.step == first.position.step


def test_a_finished_stage_goes_on_when_it_is_given_more_tokens(store, tmp_path):
    first = stage(store, tmp_path / "run")
    first.run(quiet())
    longer = stage(store, tmp_path / "run", target_tokens=1_200)
    longer.run(quiet())
    assert longer.position.step > first.position.step
    assert longer.position.target_tokens >= 1_200


def test_a_stage_ends_early_when_nothing_gets_better(store, tmp_path, monkeypatch):
    figures = {"perplexity": 9.0, "perplexity_without_state": 9.0, "recall_at_1_of_10": 0.1}
    monkeypatch.setattr("training.loop.perplexities", lambda *_: figures)
    ended = stage(store, tmp_path / "run", target_tokens=100_000, patience=2)
    ended.run(quiet())
    assert ended._is_finished()
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3  # the best, and two no better


def test_a_stage_leaves_figures_curves_and_its_best_checkpoint(store, tmp_path):
    stage(store, tmp_path / "run").run(quiet())
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    assert rows[-1]["perplexity"] < rows[0]["perplexity"] < len(_VOCABULARY) * 1.5
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    best = json.loads((tmp_path / "run" / "kept" / "metrics.json").read_text())
    assert best["validation"]["perplexity"] == min(row["perplexity"] for row in rows)


def test_a_stage_that_learns_from_its_own_replies_says_how_well_it_tells_them_apart(store, tmp_path):
    stage(store, tmp_path / "run", relevance_weight=1.0, own_replies=1.0).run(quiet())
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < row[OVER_OWN] <= 1 for row in rows)
    assert rows[-1][OVER_OWN] > 0.5  # what it writes so far is easily told from the samples


def test_words_stay_as_they_are_while_they_are_frozen(store, tmp_path):
    frozen = stage(store, tmp_path / "run", frozen_words_tokens=10_000)
    before = frozen.model.embedding.weight.detach().clone()
    frozen.run(quiet())
    torch.testing.assert_close(frozen.model.embedding.weight.detach(), before, rtol=0, atol=0)


def test_a_model_that_knows_nothing_is_as_perplexed_as_there_are_words(store):
    model = HRED(ModelConfig(len(_VOCABULARY), 8, 8, 8, 8))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    figures = perplexities(model, store, StageConfig(target_tokens=1, batch_size=7, max_turns=2))
    assert figures["perplexity"] == pytest.approx(len(_VOCABULARY))
    assert figures["perplexity_without_state"] == pytest.approx(len(_VOCABULARY))
    assert RECALL not in figures  # seven dialogues a batch are too few for nine others


@pytest.mark.parametrize("carry_state", [True, False])
def test_a_carried_state_is_that_of_the_whole_dialogue_read_at_once(store, carry_state):
    """Cut into windows of two, dialogues of three are judged as if they were whole, if their state is carried."""
    model = tiny_model(len(_VOCABULARY))
    whole = perplexities(model, store, StageConfig(target_tokens=1, max_turns=12))
    cut = perplexities(model, store, StageConfig(target_tokens=1, max_turns=2, batch_size=4, carry_state=carry_state))
    assert (abs(cut["perplexity"] / whole["perplexity"] - 1) < 1e-5) is carry_state


@pytest.mark.parametrize(("responses", "right"), [(torch.eye(12), 12), (torch.eye(12).roll(1, 0), 0)])
def test_recall_counts_the_states_that_pick_their_own_response(responses, right):
    model = SimpleNamespace(relevance_query=lambda states: states)
    assert _recall(model, torch.eye(12), responses) == (right, 12)


def test_a_run_of_another_network_is_refused_with_one_sentence(store, tmp_path):
    stage(store, tmp_path / "run").run(quiet())
    with pytest.raises(ValueError, match="other sizes"):
        stage(store, tmp_path / "run", sizes={"state_size": 9})


@pytest.mark.parametrize("learning_rate", [1e4, 1e30])
def test_learning_that_goes_astray_ends_with_one_sentence(store, tmp_path, learning_rate):
    adrift = stage(store, tmp_path, learning_rate=learning_rate, warmup_steps=0, batch_size=20)
    with pytest.raises(ValueError, match=r"^Learning went astray in .*; lower the learning rate, .* again\.$"):
        adrift.run(quiet())
    assert not (tmp_path / "kept").exists()


def test_a_corpus_without_dialogues_is_refused_with_one_sentence(store, tmp_path):
    with StoreWriter(tmp_path / "empty"):
        pass
    with pytest.raises(ValueError, match="no dialogues"):
        stage(TokenStore.open(tmp_path / "empty"), tmp_path / "run")


def test_a_corpus_in_which_nobody_answers_is_refused_with_one_sentence(tmp_path):
    with StoreWriter(tmp_path / "alone") as writer:
        writer.extend(np.full(3, 5), np.ones(3, int), np.ones(3, int))
    with pytest.raises(ValueError, match="no dialogues"):
        stage(TokenStore.open(tmp_path / "alone"), tmp_path / "run")
