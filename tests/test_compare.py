from dataclasses import replace

import pytest
from click.testing import CliRunner

from chatbot.checkpoint import load_checkpoint
from chatbot.cli import main
from chatbot.compare import _DECODINGS, SAMPLE, side_by_side
from chatbot.reply import DEFAULT
from tests.tiny_checkpoint import tiny_checkpoint


@pytest.fixture
def folders(tmp_path) -> list[str]:
    return [str(tiny_checkpoint(tmp_path / name, seed).folder) for seed, name in enumerate(("plain", "lively"))]


def compare(*arguments: str) -> str:
    ran = CliRunner().invoke(main, ["models", "compare", *arguments], env={"COLUMNS": "200"})
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_each_utterance_is_answered_by_both_in_both_ways(folders):
    checkpoints = {name: load_checkpoint(name) for name in folders}
    table = side_by_side(checkpoints, ["Hello!", "Do you like films?"], seed=0)
    heard, decoding, first, second = (list(column.cells) for column in table.columns)
    assert heard == ["Hello!", "", "Do you like films?", ""]
    assert decoding == ["as in chat", "greedy"] * 2
    assert all(first)
    assert all(second)
    assert first != second


def test_a_reply_that_is_a_response_of_the_index_is_marked(folders, monkeypatch):
    class Responses:
        def find(self, states, earlier, count):
            return [[(4, 5, 6)] * count] * len(states)

    monkeypatch.setattr("chatbot.engine.open_responses", lambda checkpoint: Responses())
    longing = replace(DEFAULT, candidates=1, length_penalty=0.0, min_tokens=30, retrieved_relevance=-99)
    monkeypatch.setitem(_DECODINGS, "as in chat", longing)
    table = side_by_side({"one": load_checkpoint(folders[0])}, ["Hello!"], seed=0)
    in_chat, greedy = table.columns[2].cells
    assert in_chat.endswith(" (retrieved)")
    assert "(retrieved)" not in greedy


def test_the_same_seed_gives_the_same_table(folders):
    assert compare(*folders, "Hello!") == compare(*folders, "Hello!")
    assert compare(*folders, "Hello!") != compare(*folders, "Hello!", "--seed", "1")


def test_a_checkpoint_can_be_compared_with_itself(folders):
    table = compare(folders[0], folders[0], "Hello!")
    assert "(again)" in table


def test_without_utterances_film_lines_are_answered(folders):
    table = compare(*folders)
    assert all(word in table for utterance in SAMPLE for word in utterance.split())


def test_utterances_are_read_from_a_file_line_by_line(folders, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_bytes(b"\xef\xbb\xbfWhat is your name?\r\n\n  \nCaf\xe9 [bold]today[/bold]?\n")
    table = compare(*folders, "How are you?", "--file", str(lines))
    for said in ("How are you?", "What is your name?", "Caf\N{REPLACEMENT CHARACTER} [bold]today[/bold]?"):
        assert said in table


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["default", "nowhere"], "There is no checkpoint in nowhere"),
        (["default", "default", " "], "nothing to reply to"),
        (["default", "default", "--file", "nowhere.txt"], "nowhere.txt cannot be used"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(arguments, told):
    ran = CliRunner().invoke(main, ["models", "compare", *arguments])
    assert ran.exit_code == 2
    assert told in ran.output
