"""Backups: one SQLite file with all of our tables, whichever kind of database they were taken from.

So a backup is read like any history (`chatbot history list --database sqlite:///FILE`), needs no programs of the
database's own, and moves a history from SQLite to PostgreSQL as well. Either way rows are copied within one
transaction: what is read stands still while others go on writing, and what is written is there whole or not at all.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, Table, delete, func, insert, select, text

from chatbot.history import Base, Conversation, DatabaseError, History, HistoryError, Turn, open_history
from chatbot.judgements import StoredJudgement
from chatbot.keys import ApiKey

_BESIDE = (ApiKey, StoredJudgement)  # named, so that the tables of their modules are known
TABLES = Base.metadata.sorted_tables  # what is pointed at comes before what points there
_ROWS = 1_000  # copied at once


class BackupError(HistoryError):
    """Nothing was written; the message is a sentence for the person who asked."""


def back_up(history: History, file: Path) -> int:
    """Write what the database holds now to a new `file`, for its owner's eyes alone -> how many conversations.

    Raises BackupError, SQLAlchemyError, OSError.
    """
    if file.exists():
        raise BackupError(f"{file} is there already; name a new file.")
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".backup-") as folder:
        unfinished = Path(folder) / "backup.db"
        count = _fill(unfinished, history)
        os.rename(unfinished, file)
    _sync(file.parent)
    return count


def _fill(file: Path, history: History) -> int:
    backup = open_history(f"sqlite:///{file}")
    with _snapshot(history) as source, _writing(backup) as target:
        _copy(source, target)
        count = _count(source)
    backup.engine.dispose()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # one file, which a read-only medium may hold
    _sync(file)
    return count


@contextmanager
def open_backup(file: Path) -> Iterator[History]:
    """A verified copy of the backup, its tables brought up to date; the file stays as it is. Raises BackupError."""
    with tempfile.TemporaryDirectory(prefix="chatbot-restore-") as folder:
        copy = Path(folder) / "backup.db"
        try:
            _verify(file, copy)
            backup = open_history(f"sqlite:///{copy}", create=False)
        except (sqlite3.Error, DatabaseError) as error:
            raise BackupError(f"{file} cannot be restored: {str(error).rstrip('.')}.") from error
        try:
            yield backup
        finally:
            backup.engine.dispose()


def _verify(file: Path, copy: Path) -> None:
    """Copy the file, and see that all of it can be read, that it is ours, and that nothing points into the void."""
    if not file.is_file():
        raise BackupError(f"There is no file {file}.")
    read_only = f"{file.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(read_only, uri=True)) as source, closing(sqlite3.connect(copy)) as whole:
        source.backup(whole)
        [verdict] = whole.execute("PRAGMA integrity_check(1)").fetchone()
        names = {name for (name,) in whole.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        dangling = whole.execute("PRAGMA foreign_key_check").fetchone()
    if not {"alembic_version", Conversation.__tablename__} <= names:
        raise BackupError(f"{file} is no backup of a history.")
    if verdict != "ok" or dangling:
        raise BackupError(f"{file} is damaged; nothing was restored.")


def restore(backup: History, history: History, *, replace: bool = False) -> int:
    """Put all of a backup into an empty database, or with `replace` in the place of what is there -> conversations.

    Raises BackupError where the database is not empty, SQLAlchemyError; then it is as it was.
    """
    with _snapshot(backup) as source, _writing(history) as target:
        for table in reversed(TABLES):
            if replace:
                target.execute(delete(table))
            elif target.execute(select(table).limit(1)).first():
                raise BackupError("The database is not empty; --replace erases what is there.")
        _copy(source, target)
        return _count(source)


@contextmanager
def _snapshot(history: History) -> Iterator[Connection]:
    """A connection for which the database stands still."""
    with history.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
            connection.execute(text("SET LOCAL TIME ZONE 'UTC'"))  # SQLite keeps times without their zone
        yield connection


@contextmanager
def _writing(history: History) -> Iterator[Connection]:
    with history.engine.execution_options(immediate=True).begin() as connection:
        yield connection


def _copy(source: Connection, target: Connection) -> None:
    for table in TABLES:
        rows = source.execute(_in_order(table), execution_options={"yield_per": _ROWS})
        for some in rows.mappings().partitions():
            target.execute(insert(table), [dict(row) for row in some])


def _in_order(table: Table) -> Select[tuple[Any, ...]]:
    """Parents before their children: a turn's place in its conversation comes after that of the turn it follows."""
    order = (Turn.conversation_id, Turn.seq) if table is Turn.__table__ else table.primary_key.columns
    return select(table).order_by(*order)


def _count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(Conversation)) or 0


def _sync(place: Path) -> None:
    """Onto the disk: a backup that a power cut takes is none."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
