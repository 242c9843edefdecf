"""What each fault test saw, told at the end of the run."""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

SEEN = pytest.StashKey[list[str]]()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """record(messages=3, kills=5): for the summary, with the test's name and seconds."""
    figures: dict[str, Any] = {}
    began = monotonic()
    yield figures.update
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
    line = f"{request.node.name}: {told}, seconds {monotonic() - began:.0f}"
    request.config.stash.setdefault(SEEN, []).append(line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(SEEN, []):
        terminalreporter.write_line(line)
