import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chatbot.cli import main
from chatbot.engine import ChatEngine
from chatbot.reply import Reply
from tests.tiny_checkpoint import tiny_checkpoint

CHATBOT = [sys.executable, "-c", "from chatbot.cli import main; main()", "talk"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "tiny").folder


def talk(folder: Path, said: bytes, *options: str) -> Result:
    return CliRunner().invoke(main, ["talk", "--checkpoint", str(folder), *options], input=said)


def test_a_pipe_gets_one_reply_a_line_and_nothing_else(folder: Path) -> None:
    result = talk(folder, b"Hello there\nWhat is your name?\r\nI like music", "--seed", "1")
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.strip() for line in lines)


def test_blank_lines_get_no_reply_and_an_empty_pipe_no_output(folder: Path) -> None:
    lines = "\n  \nHello\n\n\t\n\u200b\u200d\nYes!\n".encode()
    assert len(talk(folder, lines, "--greedy").stdout.splitlines()) == 2
    empty = talk(folder, b"")
    assert (empty.exit_code, empty.output) == (0, "")


def test_bytes_that_are_not_utf8_are_answered(folder: Path) -> None:
    result = talk(folder, b"\xef\xbb\xbfHello\ncaf\xe9 \xff\xfe\x00\n\x80\n" + b"music " * 50_000, "--greedy")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 4


def test_a_byte_order_mark_is_no_part_of_the_utterance(folder: Path) -> None:
    assert talk(folder, b"\xef\xbb\xbfHello\n", "--greedy").stdout == talk(folder, b"Hello\n", "--greedy").stdout


def test_a_seed_repeats_a_conversation_and_greedy_needs_none(folder: Path) -> None:
    said = b"Hello\nHello\nHello\nHello\n"
    once = talk(folder, said, "--seed", "3").stdout
    assert talk(folder, said, "--seed", "3").stdout == once
    assert talk(folder, said, "--seed", "4").stdout != once
    assert talk(folder, said, "--greedy").stdout == talk(folder, said, "--greedy").stdout


def test_the_dialogue_state_is_carried_from_line_to_line(folder: Path) -> None:
    after_music = talk(folder, b"I like music and films, do you?\nHello\n", "--greedy").stdout.splitlines()
    after_no = talk(folder, b"No.\nHello\n", "--greedy").stdout.splitlines()
    assert after_music[1] != after_no[1]


def test_a_missing_checkpoint_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    result = talk(tmp_path / "nowhere", b"Hello\n")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: There is no checkpoint in")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["<b>", "", "x" * 31])
def test_what_is_no_name_is_one_sentence_and_exit_code_2(folder: Path, name: str) -> None:
    result = talk(folder, b"Hello\n", "--name", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: The name {name!r} cannot be used: a name has 1 to 30 letters")
    assert len(result.stderr.splitlines()) == 1


def test_fixed_answers_are_given_by_the_name_that_an_option_or_the_environment_says(folder: Path) -> None:
    assert "called Ada" in talk(folder, b"Are you human?\n", "--name", "Ada").stdout
    command = ["talk", "--checkpoint", str(folder)]
    said = CliRunner().invoke(main, command, input=b"Are you human?\n", env={"CHATBOT_NAME": "O'Hara"}).stdout
    assert "called O'Hara" in said
    assert "called Robin" in talk(folder, b"Are you human?\n").stdout


def test_a_broken_checkpoint_is_one_sentence_and_exit_code_2(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not tensors")
    result = talk(folder, b"Hello\n")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_a_reply_that_fails_is_one_sentence_and_exit_code_2(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChatEngine, "reply", lambda *_: Reply("", "failed", "tiny"))
    result = talk(folder, b"Hello\n")
    assert result.exit_code == 2
    assert "could not answer" in result.stderr


def test_a_pipe_is_answered_line_by_line_while_it_is_open_and_ctrl_c_is_quiet(folder: Path) -> None:
    pipe = subprocess.PIPE
    command = [*CHATBOT, "--checkpoint", str(folder)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for _ in range(3):
            process.stdin.write(b"Hello\n")
            process.stdin.flush()
            assert process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        assert process.stdout.read() == process.stderr.read() == b""


def test_in_a_terminal_the_reply_follows_a_prompt_and_ctrl_d_ends(folder: Path) -> None:
    terminal, inside = pty.openpty()
    command = [*CHATBOT, "--checkpoint", str(folder), "--greedy", "--name", "Ada"]
    process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env={**os.environ, "TERM": "dumb"})
    os.close(inside)
    read_until(terminal, "You: ")
    os.write(terminal, b"Hello caf\xe9 there\n")
    answer = read_until(terminal, "You: ")
    assert re.sub(r"\x1b\[[\d;]*m", "", answer).partition("Ada: ")[2].strip()
    os.write(terminal, b"\x04")
    assert process.wait(120) == 0
    os.close(terminal)


def read_until(terminal: int, awaited: str) -> str:
    """What the terminal shows up to the awaited text."""
    shown, deadline = "", time.monotonic() + 120
    while not shown.endswith(awaited):
        assert time.monotonic() < deadline, f"the terminal shows only {shown!r}"
        if select.select([terminal], [], [], 1.0)[0]:
            shown += os.read(terminal, 1024).decode()
    return shown.removesuffix(awaited)
