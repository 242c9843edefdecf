import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from chatbot.checkpoint import CheckpointError, load_checkpoint, promote, save_checkpoint
from chatbot.cli import main
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
    monkeypatch.setattr("chatbot.checkpoint.SHIPPED", shipped.folder)
    assert load_checkpoint("live").id == shipped.id
    promoted = promote(checkpoint.folder)
    shutil.rmtree(checkpoint.folder)
    assert load_checkpoint("live").id == promoted.id == checkpoint.id


def test_promoting_a_second_time_moves_live(checkpoint, tmp_path):
    promote(checkpoint.folder)
    second = promote(tiny_checkpoint(tmp_path / "second", seed=1).folder)
    assert load_checkpoint("live").id == second.id != checkpoint.id


def test_the_shipped_checkpoint_can_be_made_live_again(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("chatbot.checkpoint.SHIPPED", tiny_checkpoint(tmp_path / "shipped", seed=1).folder)
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
