"""A checkpoint's map: drawn of a corpus' states, kept beside the weights, and refused where it is none."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from chatbot.checkpoint import load_checkpoint
from chatbot.cli import main
from chatbot.shelf import CheckpointError
from chatbot.state_map import FILE, StateMap, draw_map
from tests.tiny_checkpoint import tiny_checkpoint


def cloud(count: int, size: int = 8) -> np.ndarray:
    """States that differ in two directions, far more in the one than in the other, and hardly in any other."""
    random = np.random.default_rng(0)
    return random.normal(size=(count, size)) * [10, 3, *[0.1] * (size - 2)] + 5


def test_the_map_shows_the_two_directions_in_which_states_differ() -> None:
    states = cloud(2_000)
    places = draw_map(states).place(states)
    inside = ((places >= 0) & (places <= 1)).all(axis=1)
    assert 0.95 < inside.mean() < 1
    assert abs(np.corrcoef(places[:, 0], states[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(places[:, 1], states[:, 1])[0, 1]) > 0.99


def test_it_is_dark_where_many_states_are() -> None:
    states = cloud(2_000)
    drawn = draw_map(states)
    assert drawn.density.max() == 1
    column, row = (drawn.place(states.mean(axis=0)[None])[0] * 32).astype(int)
    assert drawn.density[row, column] > 0.5
    assert drawn.density[0, 0] < 0.2


@pytest.mark.parametrize("states", [np.zeros((0, 8)), np.ones((50, 8)), cloud(2)])
def test_there_is_no_map_of_states_that_do_not_differ(states: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"alike|too few"):
        draw_map(states)


def test_the_command_adds_a_map_to_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny", 1)
    assert checkpoint.state_map is None
    turns = ["hello there", "how are you", "I am fine", "what do you do", "I read a book", "do you like music"]
    dialogues = [turns[start:] + turns[:start] for start in range(6)]
    lines = [json.dumps({"messages": [{"content": said} for said in dialogue]}) for dialogue in dialogues]
    (tmp_path / "dialogues.jsonl").write_text("\n".join(lines))
    prepared = tmp_path / "prepared"
    for command in (
        ["prepare", str(tmp_path / "dialogues.jsonl"), "--out", str(prepared)],
        ["models", "map", str(checkpoint.folder), str(prepared)],
    ):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
    drawn = load_checkpoint(checkpoint.folder)
    assert drawn.id == checkpoint.id
    assert isinstance(drawn.state_map, StateMap)


@pytest.mark.parametrize("what", ["no map", "another size", "not a number", "a truncated file"])
def test_what_is_no_map_is_refused(what: str, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny", 1)
    drawn = draw_map(cloud(50, checkpoint.model.state_width))
    if what == "no map":
        save_file({"mean": drawn.mean}, checkpoint.folder / FILE)
    elif what == "another size":
        draw_map(cloud(50, 3)).save(checkpoint.folder)
    elif what == "not a number":
        drawn.mean[0] = np.nan
        drawn.save(checkpoint.folder)
    else:
        drawn.save(checkpoint.folder)
        (checkpoint.folder / FILE).write_bytes((checkpoint.folder / FILE).read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="map"):
        load_checkpoint(checkpoint.folder)
