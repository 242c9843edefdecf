"""Backups of both kinds of database, and what they give back."""

import sqlite3
import stat
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import inspect, select

from chatbot.backup import TABLES
from chatbot.history import FinishedReply, History, open_history
from chatbot.history_commands import history as history_command
from chatbot.judgements import Judgements
from chatbot.keys import Keys
from chatbot.ssa import Mark
from tests.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A second, empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/other.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create_database()


@pytest.fixture
def filled(history: History) -> Iterator[History]:
    """Something in every table."""
    user, _ = history.add_user()
    key = Keys(history).create("an app", ("chat",))
    Keys(history).attach(user, key.split("_")[1])
    history.begin_run(str(uuid.uuid4()), "default")
    for title in ("First", "Second"):
        conversation = history.create_conversation(user, title, learn=True).id
        for text in ("Hello ☃", "And\non"):
            accepted = history.add_message(user, conversation, str(uuid.uuid4()), text)
            ended = FinishedReply(
                f"{text}?", "completed", "first", b"\x00\x01", b"\xff\x00", candidates=[{"text": f"{text}?"}]
            )
            history.finish_reply(conversation, accepted.reply_id, ended)
            history.set_feedback(user, conversation, accepted.reply_id, -1, "Better.")
            Judgements(history).keep(accepted.reply_id, [Mark(True, False)])
        history.edit_message(user, conversation, accepted.message_id, str(uuid.uuid4()), "Or so")
    return history


def rows(history: History) -> dict[str, list[Any]]:
    with history.engine.connect() as connection:
        return {table.name: connection.execute(select(table).order_by(*table.primary_key)).all() for table in TABLES}


def rows_at(database: str) -> dict[str, list[Any]]:
    history = open_history(database, create=False)
    try:
        return rows(history)
    finally:
        history.engine.dispose()


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(history_command, list(map(str, arguments)))


def refusal(*arguments: str | Path) -> str:
    """The one sentence on stderr of a command that refuses."""
    refused = run(*arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    [line] = refused.stderr.splitlines()
    return line


def test_a_backup_holds_every_table_there_is(history: History) -> None:
    assert {table.name for table in TABLES} | {"alembic_version"} == set(inspect(history.engine).get_table_names())


def test_what_was_backed_up_is_restored_to_the_row_into_either_kind(
    filled: History, database: str, other: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.db"
    assert run("backup", file, "--database", database).stdout == f"Backed up 2 conversations to {file}.\n"
    assert run("restore", file, "--database", other).stdout == "Restored 2 conversations.\n"
    assert all(rows(filled).values())
    assert rows_at(other) == rows(filled)


def test_a_backup_is_one_file_of_its_owners_alone(filled: History, database: str, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    run("backup", folder / "one.db", "--database", database)
    assert [(file.name, stat.S_IMODE(file.stat().st_mode)) for file in folder.iterdir()] == [("one.db", 0o600)]


def test_times_are_the_same_whatever_zone_the_database_thinks_in(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Kathmandu")
    database, file = postgres.create_database(), tmp_path / "backup.db"
    history = open_history(database)
    history.create_conversation(history.add_user()[0])
    run("backup", file, "--database", database)
    assert rows_at(f"sqlite:///{file}") == rows(history)
    history.engine.dispose()


def test_a_backup_while_others_write_is_of_one_moment(filled: History, database: str, tmp_path: Path) -> None:
    """Every message there has its events and its conversation's count, or is not there at all."""
    user, enough = filled.add_user()[0], threading.Event()
    conversation = filled.create_conversation(user).id

    def write() -> None:
        while not enough.is_set():
            accepted = filled.add_message(user, conversation, str(uuid.uuid4()), "On and on")
            filled.finish_reply(conversation, accepted.reply_id, FinishedReply("Yes", "completed", "first"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            assert run("backup", tmp_path / f"{number}.db", "--database", database).exit_code == 0
    finally:
        enough.set()
        writer.join()
    for number in range(5):
        saved = rows_at(f"sqlite:///{tmp_path}/{number}.db")
        [last_seq] = [row.last_seq for row in saved["conversations"] if row.id == conversation]
        assert [row.seq for row in saved["events"] if row.conversation_id == conversation] == [*range(1, last_seq + 1)]


def test_nothing_is_overwritten_unless_that_is_said(filled: History, database: str, other: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    run("backup", file, "--database", database)
    before = file.read_bytes()
    assert refusal("backup", file, "--database", database) == f"Error: {file} is there already; name a new file."
    assert file.read_bytes() == before
    stranger = open_history(other)
    stranger.add_user()
    kept = rows(stranger)
    told = refusal("restore", file, "--database", other)
    assert told == "Error: The database is not empty; --replace erases what is there."
    assert rows(stranger) == kept
    stranger.engine.dispose()
    assert run("restore", file, "--replace", "--database", other).exit_code == 0
    assert rows_at(other) == rows(filled)


def test_a_restore_that_fails_half_way_leaves_all_as_it_was(
    filled: History, database: str, other: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.db"
    run("backup", file, "--database", database)
    target = open_history(other)
    target.add_user()
    with target.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE feedback RENAME COLUMN rating TO other")
    with target.engine.connect() as connection:
        users = connection.exec_driver_sql("SELECT * FROM users").all()
    assert "and nothing was written" in refusal("restore", file, "--replace", "--database", other)
    with target.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT * FROM users").all() == users
        assert connection.exec_driver_sql("SELECT * FROM turns").all() == []
    target.engine.dispose()


def damaged(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def dangling(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("DELETE FROM users")


def foreign(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE conversations (id)")


def no_database(file: Path) -> None:
    file.write_bytes(b"no database at all" * 100)


def newer(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


@pytest.mark.parametrize("harm", [damaged, dangling, foreign, no_database, newer, Path.unlink])
def test_what_is_no_whole_backup_is_refused_before_anything_is_written(harm: Any, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    history = open_history(f"sqlite:///{tmp_path}/chatbot.db")
    history.create_conversation(history.add_user()[0])
    history.engine.dispose()
    run("backup", file, "--database", f"sqlite:///{tmp_path}/chatbot.db")
    harm(file)
    assert str(file) in refusal("restore", file, "--database", f"sqlite:///{tmp_path}/other.db")
    assert not (tmp_path / "other.db").exists()


def test_a_folder_that_is_not_there_is_one_sentence(filled: History, database: str, tmp_path: Path) -> None:
    assert "no such" in refusal("backup", tmp_path / "no such" / "backup.db", "--database", database)
