"""What is asked of glibc's allocator; others have no such functions, and nothing happens."""

import ctypes
from contextlib import suppress

_ARENA_MAX = -8


def keep_few_heaps() -> None:
    """Each of some hundred threads would get a heap of its own and keep there what it has freed."""
    _tell("mallopt", _ARENA_MAX, 2)


def give_back() -> None:
    """To the system, what has been freed: a checkpoint goes through several forms before it answers."""
    _tell("malloc_trim", 0)


def _tell(function: str, *arguments: int) -> None:
    with suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), function)(*arguments)
