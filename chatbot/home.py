"""Where what is made at run time is kept: $CHATBOT_HOME, or `var` in the working folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def home() -> Path:
    """The folder of promoted checkpoints and of the database."""
    return Path(os.environ.get("CHATBOT_HOME", "var"))


@contextmanager
def private_files() -> Iterator[None]:
    """Make files that only their owner can read, because they hold conversations."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
