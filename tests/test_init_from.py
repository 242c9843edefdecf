import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from chatbot.checkpoint import load_checkpoint
from chatbot.cli import main
from data.store import StoreWriter
from data.vocabulary import Vocabulary
from training import init_from
from training.config import read_recipe
from training.init_from import MOST_TARGETS, SIZES, announcement, plan_for, recipe_text

SHOP = Path(__file__).parent / "samples" / "shop_talk.jsonl"


def prepared(folder: Path, dialogues: int, pairs: int, words: int = 9) -> Path:
    """A prepared folder of so many dialogues of three utterances and pairs, all of so many words."""
    Vocabulary(["<pad>", "<unk>", "<bos>", "<eos>", "a"]).save(folder / "vocabulary.json")
    for kind, count, turns in (("dialogues", dialogues, 3), ("pairs", pairs, 2)):
        for split in ("train", "validation"):
            with StoreWriter(folder / kind / split) as writer:
                spoken = count * turns
                writer.extend(np.full(spoken * words, 4), np.full(spoken, words), np.full(count, turns))
    return folder


def test_a_larger_corpus_gets_a_larger_network_and_fewer_passes(tmp_path):
    plans = []
    for place, count in enumerate((10, 10_000, 100_000)):
        (tmp_path / str(place)).mkdir()
        plans.append(plan_for(prepared(tmp_path / str(place), count, 0)))
    assert [plan.size for plan in plans] == list(SIZES[:3])
    assert [plan.stages for plan in plans] == [
        {"train": ("dialogues", 60 * 200)},
        {"train": ("dialogues", 12 * 200_000)},
        {"train": ("dialogues", 5 * 2_000_000)},
    ]


def test_pairs_come_before_dialogues_and_stand_alone_where_there_are_no_others(tmp_path):
    for name, dialogues, pairs in (("both", 10, 10), ("pairs", 0, 10)):
        (tmp_path / name).mkdir()
        prepared(tmp_path / name, dialogues, pairs)
    assert plan_for(tmp_path / "both").stages == {"pretrain": ("pairs", 6_000), "train": ("dialogues", 12_000)}
    assert plan_for(tmp_path / "pairs").stages == {"train": ("pairs", 6_000)}


def test_a_huge_corpus_is_not_gone_through_for_days(tmp_path):
    plan = plan_for(prepared(tmp_path, 1_000_000, 0))
    assert plan.target_tokens <= MOST_TARGETS


def test_nothing_to_learn_from_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="too few dialogues"):
        plan_for(prepared(tmp_path, 0, 0))


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_name_of_a_corpus_survives_the_recipe(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("prepared")
    text = recipe_text(plan_for(prepared(folder, 10, 0)), Path("run"), [name], True)
    assert tomllib.loads(text)["corpus"]["sources"] == [name]


def test_what_to_expect_is_said_with_the_time_it_takes(tmp_path):
    plan = plan_for(prepared(tmp_path, 10, 0))
    (tmp_path / "recipe.toml").write_text(recipe_text(plan, tmp_path / "run", ["logs"], True))
    said = announcement(plan, read_recipe(tmp_path / "recipe.toml"))
    assert "200 words" in said
    assert "60 times" in said
    assert "by heart" in said


def test_one_command_makes_a_checkpoint_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(init_from, "MOST_TARGETS", 2_000)
    command = ["init-from", str(SHOP), "--out", str(tmp_path / "own")]
    first = CliRunner().invoke(main, command)
    assert first.exit_code == 0, first.output
    assert "What to expect" in first.output
    checkpoint = load_checkpoint(tmp_path / "own" / "checkpoint")
    assert checkpoint.model.config.state_size == SIZES[0].network.state_size
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 0, again.output
    assert load_checkpoint(tmp_path / "own" / "checkpoint").id == checkpoint.id
    other = CliRunner().invoke(main, ["init-from", str(SHOP), str(SHOP), "--out", str(tmp_path / "own")])
    assert other.exit_code == 2
    assert "give another --out" in other.output


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.jsonl", ""),
        ("alone.jsonl", json.dumps({"messages": [{"role": "user", "content": "Hello there."}]})),
        ("broken.jsonl", "{\n" * 3),
    ],
)
def test_logs_that_hold_nothing_are_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    done = CliRunner().invoke(main, ["init-from", str(tmp_path / name), "--out", str(tmp_path / "own")])
    assert done.exit_code == 2
    assert "Error" in done.output
    assert not (tmp_path / "own" / "prepared").exists()
