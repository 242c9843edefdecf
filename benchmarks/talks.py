"""What the benchmarks share that talk with a checkpoint: their arguments, its engine, and shares with intervals."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from scipy.stats import binomtest

from chatbot.checkpoint import load_checkpoint
from chatbot.engine import ChatEngine
from chatbot.shelf import CheckpointError

SIDE_BY_SIDE = 32

One = TypeVar("One")
Result = TypeVar("Result")


def options_of(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    """`checkpoint`, and `replies`, a file for all that was said, which is empty at first or None."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="default", help="a folder, an id, default or live (default)")
    parser.add_argument("--replies", type=_empty_file, help="a file for all that was said, as JSON lines")
    return parser.parse_args(arguments)


def _empty_file(name: str) -> Path:
    """Made before the replies are, which take minutes."""
    try:
        Path(name).write_text("", encoding="utf-8")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{name} cannot be written ({error.strerror}); name another file") from error
    return Path(name)


def save(file: Path | None, rows: Iterable[dict[str, Any]]) -> None:
    """Writes a row a line, if there is a file."""
    if file:
        file.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")


@contextmanager
def engine_of(where: str) -> Iterator[ChatEngine]:
    """The engine of a checkpoint, decoding as the service does. Exits with a sentence where there is none."""
    try:
        engine = ChatEngine(load_checkpoint(where))
    except CheckpointError as error:
        sys.exit(str(error))
    with engine:
        yield engine


def side_by_side(work: Callable[[One], Result], ones: Iterable[One]) -> list[Result]:
    """The results in order; the engine decodes in one batch what is asked at once."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return list(pool.map(work, ones))


def share(found: Sequence[bool]) -> str:
    """How many are right, with Wilson's 95 % interval."""
    low, high = binomtest(sum(found), len(found)).proportion_ci(method="wilson")
    return f"{sum(found):3} of {len(found):3} = {sum(found) / len(found):4.0%} ({low:.0%} to {high:.0%})"
