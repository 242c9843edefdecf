"""`chatbot history list|show|export`: what was said, read from the database."""

import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from data.errors import UserError

if TYPE_CHECKING:
    from chatbot.history import History

_database = click.option(
    "--database", envvar="CHATBOT_DATABASE", metavar="URL", help="Where the history is kept (sqlite:///var/chatbot.db)."
)
_conversation = click.argument("conversation_id", metavar="ID")


@click.group()
def history() -> None:
    """Read the stored conversations."""


@history.command("list")
@_database
def list_conversations(database: str | None) -> None:
    """The conversations, newest first: id, time of the last change, title."""
    with _reading(database) as stored:
        for conversation in stored.conversations():
            changed = conversation.updated_at.strftime("%Y-%m-%d %H:%M")
            click.echo(f"{conversation.id}  {changed}  {_printable(conversation.title or '(empty)')}")


@history.command()
@_conversation
@_database
def show(conversation_id: str, database: str | None) -> None:
    """One conversation as it was said, on its active branch."""
    from chatbot.history import NotFoundError

    with _reading(database) as stored:
        try:
            turns = stored.active_branch(conversation_id)
        except NotFoundError as error:
            message = f"There is no conversation {conversation_id}; `chatbot history list` names them."
            raise UserError(message) from error
        for turn in turns:
            ended = "" if turn.status == "completed" else f" ({turn.status})"
            click.echo(f"{turn.speaker}: {_printable(turn.text)}{ended}")


@history.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Instead of the screen.")
@_database
def export(database: str | None, out: Path | None) -> None:
    """Every conversation as chat JSONL, one a line, on its active branch, oldest first."""
    from chatbot.history import dialogues

    with _reading(database) as stored, _writing(out) as file:
        for dialogue in dialogues(stored):
            file.write(json.dumps(dialogue, ensure_ascii=False) + "\n")


def _printable(text: str) -> str:
    """Without control characters: what a stranger wrote in a chat must not command the reader's terminal."""
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)


@contextmanager
def _reading(database: str | None) -> Iterator["History"]:
    """An existing database, open; a reader that leaves early (`| head`) is no error."""
    from chatbot.history import DEFAULT_DATABASE, DatabaseError, open_history

    try:
        stored = open_history(database or DEFAULT_DATABASE, create=False)
    except DatabaseError as error:
        raise UserError(str(error)) from error
    try:
        yield stored
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains of it once more at exit
    finally:
        stored.engine.dispose()


@contextmanager
def _writing(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    try:
        file = out.open("w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error
    with file:
        yield file
