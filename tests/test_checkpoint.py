import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from chatbot.checkpoint import load_checkpoint, save_checkpoint, save_weights
from chatbot.cli import main
from chatbot.shelf import CheckpointError, live_id, live_pointer, promote, promotions, rollback, shelved
from tests.clients import ROOT
from tests.tiny_checkpoint import tiny_checkpoint

_SIZES = ("embedding_size", "encoder_size", "state_size", "decoder_size")


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "var"))
    return tiny_checkpoint(tmp_path / "tiny")


def test_a_saved_checkpoint_answers_the_same_when_loaded(checkpoint):
    loaded = load_checkpoint(checkpoint.folder)
    state = torch.ones(1, loaded.model.config.state_size)
    before, after = (
        c.model.decode_step(torch.tensor([2]), c.model.start_decoding(state), state) for c in (checkpoint, loaded)
    )
    torch.testing.assert_close(before, after, rtol=0, atol=0)
    assert (loaded.id, loaded.vocabulary.tokens, loaded.metrics) == (
        checkpoint.id,
        checkpoint.vocabulary.tokens,
        checkpoint.metrics,
    )


def test_a_checkpoint_of_format_1_answers_as_it_did(checkpoint):
    weights = load_file(checkpoint.folder / "model.safetensors")
    old = {name.replace(".0.", "."): value for name, value in weights.items()}
    sizes = {name: getattr(checkpoint.model.config, name) for name in ("vocabulary_size", *_SIZES)}
    save_file(old, checkpoint.folder / "model.safetensors")
    (checkpoint.folder / "config.json").write_text(json.dumps({"format": 1, "model": sizes}))
    found = load_checkpoint(checkpoint.folder).model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in checkpoint.model.state_dict().items())


@pytest.mark.parametrize("network", [{"kind": "seq2seq", "cell": "lstm"}, {"kind": "language-model", "layers": 2}])
def test_a_checkpoint_remembers_which_network_it_is(tmp_path, network):
    saved = tiny_checkpoint(tmp_path / "other", **network)
    assert load_checkpoint(saved.folder).model.config == saved.model.config


def test_a_checkpoint_can_be_saved_over_itself(checkpoint):
    with torch.no_grad():
        checkpoint.model.output_bias += 1
    again = save_checkpoint(checkpoint.folder, checkpoint.model, checkpoint.vocabulary, {})
    assert again.id != checkpoint.id
    assert [path.name for path in checkpoint.folder.parent.iterdir()] == [checkpoint.folder.name]


def test_the_shipped_checkpoint_is_live_until_one_is_promoted(checkpoint, tmp_path, monkeypatch):
    shipped = tiny_checkpoint(tmp_path / "shipped", seed=1)
    monkeypatch.setattr("chatbot.shelf.SHIPPED", shipped.folder)
    assert load_checkpoint("live").id == shipped.id
    promoted = promote(checkpoint.folder)
    shutil.rmtree(checkpoint.folder)
    assert load_checkpoint("live").id == promoted.id == checkpoint.id


def test_promoting_a_second_time_moves_live(checkpoint, tmp_path):
    promote(checkpoint.folder)
    second = promote(tiny_checkpoint(tmp_path / "second", seed=1).folder)
    assert load_checkpoint("live").id == second.id != checkpoint.id


def test_the_shipped_checkpoint_can_be_made_live_again(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("chatbot.shelf.SHIPPED", tiny_checkpoint(tmp_path / "shipped", seed=1).folder)
    promote(checkpoint.folder)
    result = CliRunner().invoke(main, ["models", "promote", "default"])
    assert result.exit_code == 0, result.output
    assert load_checkpoint("live").id == load_checkpoint("default").id in result.output


def test_two_processes_may_promote_the_same_checkpoint_at_once(checkpoint, monkeypatch):
    copytree = shutil.copytree

    def slow_copytree(source, target):
        monkeypatch.setattr("shutil.copytree", copytree)
        promote(source)  # the other process begins later and ends first
        return copytree(source, target)

    monkeypatch.setattr("shutil.copytree", slow_copytree)
    assert promote(checkpoint.folder).id == load_checkpoint("live").id == checkpoint.id


def test_a_checkpoint_that_training_replaces_while_it_is_copied_is_not_promoted(checkpoint, tmp_path, monkeypatch):
    other, copytree = tiny_checkpoint(tmp_path / "other", seed=1), shutil.copytree
    monkeypatch.setattr("shutil.copytree", lambda _, target: copytree(other.folder, target))
    with pytest.raises(CheckpointError, match="changed while it was copied"):
        promote(checkpoint.folder)
    assert not (tmp_path / "var" / "checkpoints" / "live").exists()


def test_a_damaged_copy_does_not_go_live(checkpoint, tmp_path):
    first = promote(checkpoint.folder)
    second = promote(tiny_checkpoint(tmp_path / "second", seed=1).folder)
    truncate(first.folder)
    with pytest.raises(CheckpointError, match="damaged"):
        promote(checkpoint.folder)
    assert load_checkpoint("live").id == second.id


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])


def lose_a_token(folder: Path) -> None:
    tokens = json.loads((folder / "vocabulary.json").read_text())
    (folder / "vocabulary.json").write_text(json.dumps(tokens[:-1]))


def hold_a_pickle(folder: Path) -> None:
    torch.save({"embedding.weight": torch.zeros(1)}, folder / "model.safetensors")


def hold_a_weight_that_is_no_number(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["output_bias"][0] = torch.nan
    save_file(weights, folder / "model.safetensors")


def claim_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model"]["state_size"] = 10**6
    (folder / "config.json").write_text(json.dumps(config))


def speak_another_format(folder: Path) -> None:
    (folder / "config.json").write_text('{"format": 99}')


def lose_its_config(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lose_a_token,
        hold_a_pickle,
        hold_a_weight_that_is_no_number,
        claim_another_size,
        speak_another_format,
        lose_its_config,
    ],
)
def test_a_broken_checkpoint_is_refused_with_one_sentence_and_never_promoted(checkpoint, damage):
    damage(checkpoint.folder)
    with pytest.raises(CheckpointError, match="checkpoint in") as refused:
        promote(checkpoint.folder)
    assert len(str(refused.value).splitlines()) == 1
    assert not (Path(checkpoint.folder).parent / "var" / "checkpoints" / "live").exists()


# The shelf


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> str:
    """The id of a shipped checkpoint that takes no time."""
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "var"))
    shipped = tiny_checkpoint(tmp_path / "shipped", seed=9)
    monkeypatch.setattr("chatbot.shelf.SHIPPED", shipped.folder)
    return shipped.id


def promoted(folder: Path, seed: int) -> str:
    return promote(tiny_checkpoint(folder / str(seed), seed).folder).id


def test_rollbacks_go_back_one_promotion_each_down_to_the_shipped_one(shipped, tmp_path):
    first, second = promoted(tmp_path, 1), promoted(tmp_path, 2)
    for before in (first, shipped):
        assert rollback().id == live_id() == load_checkpoint("live").id == before
    with pytest.raises(CheckpointError, match=f"No other checkpoint was live before {shipped}"):
        rollback()
    assert [(made.checkpoint_id, made.before, made.is_rollback) for made in promotions()] == [
        (first, shipped, False),
        (second, first, False),
        (first, second, True),
        (shipped, first, True),
    ]
    assert sorted(shelved()) == sorted([first, second, shipped])


def test_what_was_rolled_back_is_no_longer_on_the_way_back(shipped, tmp_path):
    first, _ = promoted(tmp_path, 1), promoted(tmp_path, 2)
    rollback()
    promoted(tmp_path, 3)
    assert [rollback().id, rollback().id] == [first, shipped]


def test_default_is_gone_back_to_as_any_other(shipped, tmp_path):
    first = promoted(tmp_path, 1)
    assert promote("default").id == shipped
    second = promoted(tmp_path, 2)
    assert [rollback().id for _ in range(3)] == [shipped, first, shipped]
    assert promote(second).id == live_id() == second  # by its id


def test_promoting_what_is_live_already_is_no_step_back(shipped, tmp_path):
    promote("default")
    first = promoted(tmp_path, 1)
    pointer = live_pointer()
    assert promoted(tmp_path, 1) == first
    assert live_pointer() != pointer  # a server looks again all the same
    assert len(promotions()) == 1
    assert rollback().id == shipped


def test_what_was_made_live_by_hand_is_gone_back_from_and_to(shipped, tmp_path):
    first, second = promoted(tmp_path, 1), promoted(tmp_path, 2)
    link = tmp_path / "var" / "checkpoints" / "live"
    link.unlink()
    link.symlink_to(first)
    third = promoted(tmp_path, 3)
    assert [rollback().id for _ in range(4)] == [first, second, first, shipped]
    link.unlink()
    link.symlink_to(third)
    assert rollback().id == shipped


def test_a_checkpoint_that_is_gone_is_not_gone_back_to(shipped, tmp_path):
    first, second = promoted(tmp_path, 1), promoted(tmp_path, 2)
    shutil.rmtree(tmp_path / "var" / "checkpoints" / first)
    with pytest.raises(CheckpointError, match=f"{first}, which was live before, is no longer in"):
        rollback()
    assert live_id() == second


def test_a_link_to_nothing_is_an_error_and_not_the_shipped_one(shipped, tmp_path):
    shutil.rmtree(promote(tiny_checkpoint(tmp_path / "first", 1).folder).folder)
    with pytest.raises(CheckpointError, match="There is no checkpoint in"):
        load_checkpoint("live")


def test_lines_that_are_no_promotions_are_passed_over(shipped, tmp_path):
    promoted(tmp_path, 1)
    with (tmp_path / "var" / "checkpoints" / "promotions.jsonl").open("ab") as record:
        record.write(b'{"checkpoint": "x"}\n[1]\nnull\n\xff\n{"checkpoint": "x", "before": "y", "at": 3}\n{"che\n')
    second = promoted(tmp_path, 2)
    assert promotions()[-1].checkpoint_id == second
    assert len(promotions()) == 2
    assert rollback().id == load_checkpoint(tmp_path / "1").id


_HURRY = """
import sys
from chatbot.shelf import promote, rollback
for _ in range(6):
    for folder in sys.argv[1:]:
        promote(folder)
    rollback()
"""


def test_promotions_and_rollbacks_of_several_processes_make_one_history(shipped, tmp_path):
    first = promoted(tmp_path, 0)
    folders = [str(tiny_checkpoint(tmp_path / f"{seed}", seed).folder) for seed in range(1, 7)]
    pairs = zip(folders[::2], folders[1::2], strict=True)
    hurry = [subprocess.Popen([sys.executable, "-c", _HURRY, *pair], cwd=ROOT) for pair in pairs]
    assert [process.wait(120) for process in hurry] == [0, 0, 0]
    made = promotions()
    assert [one.before for one in made] == [shipped, *(one.checkpoint_id for one in made[:-1])]
    assert made[0].checkpoint_id == first
    assert made[-1].checkpoint_id == live_id() == load_checkpoint("live").id
    assert sum(one.is_rollback for one in made) == 18
    assert not list((tmp_path / "var" / "checkpoints").glob(".promoting-*"))


def test_a_disk_that_is_full_while_promoting_leaves_what_was_live(shipped, tmp_path, monkeypatch):
    first, other = promoted(tmp_path, 1), tiny_checkpoint(tmp_path / "2", 2)
    made = promotions()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for function in ("shutil.copytree", "pathlib.Path.write_text"):
        with monkeypatch.context() as patched:
            patched.setattr(function, full)
            with pytest.raises(OSError, match="No space"):
                promote(other.folder)
        assert (live_id(), promotions()) == (first, made)
        assert not list((tmp_path / "var" / "checkpoints").glob(".promoting-*"))
    assert promote(other.folder).id == live_id()


def test_weights_that_cannot_be_written_are_an_error_of_files(checkpoint, tmp_path):
    with pytest.raises(OSError, match="No such file"):
        save_weights({}, tmp_path / "gone" / "model.safetensors")


@pytest.mark.parametrize("layers", [10**9, 10**30])
def test_a_checkpoint_that_speaks_of_endless_layers_is_refused_at_once(checkpoint, layers):
    config = json.loads((checkpoint.folder / "config.json").read_text())
    config["model"]["layers"] = layers
    (checkpoint.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="layers"):
        load_checkpoint(checkpoint.folder)


def test_a_loaded_checkpoint_does_not_lean_on_its_file(checkpoint):
    weights = {name: value.float() for name, value in load_file(checkpoint.folder / "model.safetensors").items()}
    save_file(weights, checkpoint.folder / "model.safetensors")
    loaded = load_checkpoint(checkpoint.folder)
    os.truncate(checkpoint.folder / "model.safetensors", 0)
    found = loaded.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in checkpoint.model.state_dict().items())
