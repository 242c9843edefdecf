"""What every room tells a user who can mend it."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import click


class UserError(click.ClickException):
    """One sentence that says what was wrong and what to do; exit code 2."""

    exit_code = 2

    def format_message(self) -> str:
        return "\n".join(map(printable, super().format_message().splitlines()))


def printable(text: str) -> str:
    """The text without control characters and bytes that are no text: the name of a file, and what a stranger wrote in
    a chat, must not command the reader's terminal."""
    return "".join(" " if unicodedata.category(one) in {"Cc", "Cs"} else one for one in text)


@contextmanager
def told_to_user(*mendable: type[Exception]) -> Iterator[None]:
    """Turns errors that say what to do, and those of files that cannot be read or written, into a UserError."""
    try:
        yield
    except OSError as error:
        place = error.filename2 or error.filename or "A file"
        raise UserError(f"{place} cannot be used ({error.strerror or error}); mend that or name another.") from error
    except mendable as error:
        raise UserError(str(error)) from error
