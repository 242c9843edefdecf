"""Progress of long work: a bar on a terminal, a line every half a minute in a log file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LOG_SECONDS = 30.0

Item = TypeVar("Item")


class LoggedProgress(Progress):
    """A `rich.progress.Progress` that also says how far its tasks are where there is no terminal to draw on."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        columns = columns or (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
        )
        # Speed is that of the last two minutes, for a machine's changes with what else runs on it.
        super().__init__(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=120)
        self._stopped = Event()

    def start(self) -> None:
        super().start()
        if self.disable:
            Thread(target=self._log, name="progress", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        super().stop()

    def _log(self) -> None:
        while not self._stopped.wait(LOG_SECONDS):
            for task in self.tasks:
                if not task.finished:
                    self.console.print(self._line(task), soft_wrap=True)

    def _line(self, task: Task) -> Text:
        cells = (column(task) for column in self.columns if not isinstance(column, BarColumn | SpinnerColumn | str))
        told = [cell.plain for cell in cells if isinstance(cell, Text)]
        knows_the_end = any(isinstance(column, TimeRemainingColumn) for column in self.columns)
        return Text(f"{'  '.join(told)} {'left' if knows_the_end else 'so far'}")


@contextmanager
def working(description: str, console: Console) -> Iterator[None]:
    """Say that something begins, and for how long it has been at work, where its end is not known."""
    console.print(f"{description} ...", soft_wrap=True)
    with LoggedProgress(SpinnerColumn(), TextColumn(description), TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(description, total=None)
        yield
        progress.remove_task(task)


def track(items: Sequence[Item], description: str, console: Console) -> Iterator[Item]:
    """Hand on the items and show how many of them were taken."""
    with LoggedProgress(console=console) as progress:
        yield from progress.track(items, description=description)
