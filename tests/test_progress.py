import io
import time

import pytest
from rich.console import Console

from data import progress
from data.progress import track, working


def shown(items: int, is_terminal: bool, seconds: float) -> str:
    """What is written while some items are gone through."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=is_terminal, width=100)
    taken = []
    for item in track(range(items), "Reading", console):
        taken.append(item)
        time.sleep(seconds)
    assert taken == list(range(items))
    return written.getvalue()


def test_a_log_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.05)
    lines = shown(4, is_terminal=False, seconds=0.2).splitlines()
    assert len(lines) > 2
    assert all(line.startswith("Reading") and line.endswith("left") and "%" in line for line in lines)
    assert "\x1b" not in "".join(lines)


def test_short_work_leaves_no_line_in_a_log_file() -> None:
    assert shown(3, is_terminal=False, seconds=0.0) == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.01)
    drawn = shown(3, is_terminal=True, seconds=0.05)
    assert "Reading" in drawn
    assert "100%" in drawn
    assert " left" not in drawn


def test_work_whose_end_is_not_known_says_how_long_it_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.05)
    written = io.StringIO()
    with working("Comparing", Console(file=written, width=100)):
        time.sleep(0.3)
    first, *others = written.getvalue().splitlines()
    assert first == "Comparing ..."
    assert others
    assert all(line.startswith("Comparing  0:00:0") and line.endswith("so far") for line in others)
