"""`chatbot history`: what was said, read from the database and erased from it."""

import json
import os
import sys
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from chatbot.home import private_files
from data.errors import UserError, printable, told_to_user

if TYPE_CHECKING:
    from chatbot.history import History

EMPTYING_SECONDS = 30  # to wait for readers of the database to end, so that erased text can leave its log

_database = click.option(
    "--database", envvar="CHATBOT_DATABASE", metavar="URL", help="Where the history is kept (sqlite:///var/chatbot.db)."
)
_conversation = click.argument("conversation_id", metavar="ID")


@click.group()
def history() -> None:
    """Read, take and erase the stored conversations."""


@history.command()
@_database
def migrate(database: str | None) -> None:
    """Make the database, or bring its tables up to date: before several servers start on it.

    A server does so itself.
    """
    with _open(database, create=True):
        click.echo("The tables are up to date.")


@history.command("list")
@_database
def list_conversations(database: str | None) -> None:
    """The conversations, newest first: id, time of the last change, user, whether to learn from it, title."""
    with _open(database) as stored:
        for conversation in stored.conversations():
            changed = conversation.updated_at.strftime("%Y-%m-%d %H:%M")
            choice = "learn" if conversation.learn else "store"
            title = printable(conversation.title or "(empty)")
            click.echo(f"{conversation.id}  {changed}  {conversation.user_id}  {choice}  {title}")


@history.command()
@_conversation
@_database
def show(conversation_id: str, database: str | None) -> None:
    """One conversation as it was said, on its active branch."""
    with _open(database) as stored, _naming("conversation", conversation_id):
        for turn in stored.active_branch(conversation_id):
            ended = "" if turn.status == "completed" else f" ({turn.status})"
            retrieved = " (retrieved)" if turn.is_retrieved else ""
            guarded = f" (fixed answer: {turn.guarded})" if turn.guarded else ""
            click.echo(f"{turn.speaker}: {printable(turn.text)}{ended}{retrieved}{guarded}")


@history.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Instead of the screen.")
@click.option("--user", "user_id", metavar="ID", help="Only what this user said and was told.")
@_database
def export(database: str | None, user_id: str | None, out: Path | None) -> None:
    """Every conversation as chat JSONL, one a line, on its active branch, oldest first.

    What was not written by the model, but retrieved word for word from a corpus, is marked "retrieved". A fixed answer
    says in "guarded" to what kind of utterance it was given, and has the weight 0, so that no training learns it.
    """
    from chatbot.history import dialogues

    with _open(database) as stored, _naming("user", user_id):
        if user_id:
            stored.check_user(user_id)
        with _writing(out) as file:
            for dialogue in dialogues(stored, user_id):
                file.write(json.dumps(dialogue, ensure_ascii=False) + "\n")


@history.command("export-judgements")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Instead of the screen.")
@_database
def export_judgements(database: str | None, out: Path | None) -> None:
    """What the operator marked on the page for judging, a turn a line, as training/judgements.jsonl.xz holds it.

    Only of conversations that may be learned from.
    """
    from chatbot.judgements import Judgements

    with _open(database) as stored, _writing(out) as file:
        for record in Judgements(stored).records():
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


@history.command()
@_conversation
@_database
def delete(conversation_id: str, database: str | None) -> None:
    """Erase one conversation, also from what was prepared of it for training."""
    from chatbot.forgetting import forget

    with _open(database) as stored, _naming("conversation", conversation_id):
        stored.delete_conversation(None, conversation_id)
        forget([conversation_id])
        click.echo("Erased 1 conversation.")


@history.command("delete-user")
@click.argument("user_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@_database
def delete_user(user_id: str, yes: bool, database: str | None) -> None:
    """Erase a user with all conversations, also from what was prepared of them for training.

    A checkpoint that has learned from them already stays as it is.
    """
    from chatbot.forgetting import forget

    with _open(database) as stored, _naming("user", user_id):
        stored.check_user(user_id)
        if not yes:
            click.confirm(f"Erase {user_id} and {_counted(stored.conversations(user_id))} for good?", abort=True)
        erased = stored.delete_user(user_id)
        forget(erased)
        click.echo(f"Erased the user and {_counted(erased)}.")


@history.command()
@click.option("--keep-days", type=click.IntRange(1, 36_500), required=True, metavar="N", help="Days to keep.")
@_database
def prune(keep_days: int, database: str | None) -> None:
    """Erase the conversations in which nothing happened for N days."""
    from chatbot.forgetting import forget

    with _open(database) as stored:
        erased = [id for _, id in stored.delete_untouched(datetime.now(UTC) - timedelta(days=keep_days))]
        forget(erased)
        click.echo(f"Erased {_counted(erased)}.")


@history.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_database
def backup(file: Path, database: str | None) -> None:
    """Write all that is stored now to a new FILE, while servers go on serving.

    It is an SQLite database like the default one, whichever kind was backed up.
    """
    from chatbot.backup import BackupError, back_up

    with _open(database) as stored, _told(BackupError):
        count = back_up(stored, file)
        click.echo(f"Backed up {_number(count)} to {file}.")


@history.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--replace", is_flag=True, help="Erase what the database holds.")
@_database
def restore(file: Path, replace: bool, database: str | None) -> None:
    """Put a backup's FILE into an empty database, of either kind. Stop the servers first.

    The file is verified before anything is written, and it is restored whole or not at all.
    """
    from chatbot.backup import BackupError, open_backup
    from chatbot.backup import restore as put

    with _told(BackupError), open_backup(file) as saved, _open(database, create=True) as stored, _told(BackupError):
        click.echo(f"Restored {_number(put(saved, stored, replace=replace))}.")


def _counted(conversations: Sized) -> str:
    return _number(len(conversations))


def _number(count: int) -> str:
    return f"{count} conversation{'' if count == 1 else 's'}"


@contextmanager
def _told(error: type[Exception]) -> Iterator[None]:
    """What goes wrong as one sentence, where the database is away too."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with told_to_user(error):
            yield
    except SQLAlchemyError as away:
        reason = str(getattr(away, "orig", None) or away).strip().splitlines()[0]
        raise UserError(f"The database failed, and nothing was written: {reason}.") from away


@contextmanager
def _naming(kind: str, id: str | None) -> Iterator[None]:
    """One sentence where there is no such conversation or user."""
    from chatbot.history import NotFoundError, UnknownUserError

    try:
        yield
    except (NotFoundError, UnknownUserError) as error:
        raise UserError(f"There is no {kind} {id}; `chatbot history list` names them.") from error


@contextmanager
def _open(database: str | None, *, create: bool = False) -> Iterator["History"]:
    """An existing database, or with `create` a new one; a reader that leaves early (`| head`) is no error."""
    from chatbot.history import DEFAULT_DATABASE, DatabaseError, open_history, used

    url = database or DEFAULT_DATABASE
    with told_to_user(DatabaseError):
        stored = open_history(url, create=create)
    try:
        with used(url):
            yield stored
        sys.stdout.flush()
        if not stored.wait_until_emptied(EMPTYING_SECONDS):
            click.echo(
                "Somebody reads the database: what was erased leaves its log at the server's next start.", err=True
            )
    except DatabaseError as error:
        raise UserError(str(error)) from error
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
        with private_files():
            file = out.open("w", encoding="utf-8")
        if out.is_file():
            out.chmod(0o600)  # where the file was there before, too
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error
    with file:
        yield file
