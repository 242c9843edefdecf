"""The stored conversations, on SQLite and on a real PostgreSQL."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import CliRunner, Result
from sqlalchemy import func, inspect, select, text
from sqlalchemy.orm import Session

from chatbot import history as tables
from chatbot.history import (
    CONTEXT_TURNS,
    Accepted,
    BusyError,
    ConflictError,
    DatabaseError,
    FinishedReply,
    History,
    NotFoundError,
    connect,
    dialogues,
    open_history,
)
from chatbot.history_commands import history as history_command
from chatbot.migrations import downgrade, upgrade
from tests.clients import ROOT


def send(history: History, user: str, conversation: str, text: str, parent: str | None = None) -> Accepted:
    return history.add_message(user, conversation, str(uuid.uuid4()), text, parent)


def finish(history: History, conversation: str, accepted: Accepted, text: str, state: bytes = b"state") -> None:
    reply = FinishedReply(text, "completed", "first", b"before " + state, b"after " + state)
    assert history.finish_reply(conversation, accepted.reply_id, reply)


def say(history: History, user: str, conversation: str, text: str, answer: str) -> Accepted:
    accepted = send(history, user, conversation, text)
    finish(history, conversation, accepted, answer)
    return accepted


@pytest.fixture
def user(history: History) -> str:
    return history.add_user()[0]


@pytest.fixture
def conversation(history: History, user: str) -> str:
    return history.create_conversation(user).id


def said(history: History, conversation: str) -> list[str]:
    return [message["content"] for message in history.dialogue(conversation)["messages"]]


def seqs(history: History, user: str, conversation: str) -> list[int]:
    return [event.seq for event in history.events_after(user, conversation, 0, 10_000)[0]]


# Tables


def test_the_migrations_make_exactly_the_tables_of_the_models(history: History) -> None:
    with history.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.Base.metadata) == []


def test_migrations_go_up_down_and_up_again_on_a_filled_database(
    history: History, user: str, conversation: str
) -> None:
    say(history, user, conversation, "Is it kept?", "Until you go back.")
    upgrade(history.engine)
    assert said(history, conversation) == ["Is it kept?", "Until you go back."]
    downgrade(history.engine, "base")
    assert inspect(history.engine).get_table_names() == ["alembic_version"]
    upgrade(history.engine)
    assert history.conversations() == []


def test_two_processes_may_migrate_one_database_at_once(database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_history(database), range(4)))
    for history in opened:
        history.check()
        history.engine.dispose()


def test_sqlite_syncs_every_commit_and_keeps_foreign_keys(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/chatbot.db")
    with engine.connect() as connection:
        pragmas = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    engine.dispose()
    assert pragmas == ["wal", 2, 1]


# Users


def test_a_token_is_kept_only_as_its_hash(history: History) -> None:
    user, token = history.add_user()
    assert history.user_of(token) == user
    assert history.user_of(token + "x") is None
    with Session(history.engine) as session:
        stored = session.scalar(select(tables.User).where(tables.User.id == user))
        assert stored is not None
        assert token not in (stored.id, stored.token_hash)


def test_another_users_conversation_is_not_found(history: History, user: str, conversation: str) -> None:
    accepted = say(history, user, conversation, "Mine.", "Yours.")
    other = history.add_user()[0]
    attempts: list[Callable[[], object]] = [
        lambda: send(history, other, conversation, "Hello?"),
        lambda: history.edit_message(other, conversation, accepted.message_id, str(uuid.uuid4()), "Hello?"),
        lambda: history.regenerate_reply(other, conversation, accepted.reply_id),
        lambda: history.set_feedback(other, conversation, accepted.reply_id, 1, None),
        lambda: history.reply_status(other, conversation, accepted.reply_id),
        lambda: history.rename_conversation(other, conversation, "Stolen"),
        lambda: history.delete_conversation(other, conversation),
        lambda: history.events_after(other, conversation, 0, 10),
        lambda: history.dialogue(conversation, other),
    ]
    for attempt in attempts:
        with pytest.raises(NotFoundError):
            attempt()
    assert said(history, conversation) == ["Mine.", "Yours."]


def test_a_turn_of_another_conversation_is_not_found(history: History, user: str, conversation: str) -> None:
    elsewhere = history.create_conversation(user).id
    accepted = say(history, user, elsewhere, "There.", "Yes.")
    attempts: list[Callable[[], object]] = [
        lambda: send(history, user, conversation, "Here?", accepted.reply_id),
        lambda: history.edit_message(user, conversation, accepted.message_id, str(uuid.uuid4()), "Here?"),
        lambda: history.regenerate_reply(user, conversation, accepted.reply_id),
        lambda: history.set_feedback(user, conversation, accepted.reply_id, 1, None),
    ]
    for attempt in attempts:
        with pytest.raises(NotFoundError):
            attempt()


# Turns


def test_a_message_starts_its_reply_in_the_same_transaction(history: History, user: str, conversation: str) -> None:
    accepted = send(history, user, conversation, "Hello")
    assert [event.type for event in accepted.events] == ["message.created", "reply.started"]
    assert accepted.seq == 1
    [unanswered] = history.unanswered()
    assert (unanswered.reply_id, unanswered.utterance, unanswered.context) == (accepted.reply_id, "Hello", ())
    assert unanswered == accepted.unanswered


def test_a_finished_reply_is_no_longer_unanswered_and_ends_only_once(
    history: History, user: str, conversation: str
) -> None:
    accepted = say(history, user, conversation, "Hello", "Hi.")
    assert history.unanswered() == []
    again = FinishedReply("Something else", "completed", "second")
    assert history.finish_reply(conversation, accepted.reply_id, again) is None
    assert said(history, conversation) == ["Hello", "Hi."]
    assert history.reply_status(user, conversation, accepted.reply_id) == "completed"


def test_one_reply_at_a_time(history: History, user: str, conversation: str) -> None:
    accepted = send(history, user, conversation, "First")
    with pytest.raises(BusyError):
        send(history, user, conversation, "Second")
    with pytest.raises(BusyError):
        history.regenerate_reply(user, conversation, accepted.reply_id)
    with pytest.raises(BusyError):
        history.edit_message(user, conversation, accepted.message_id, str(uuid.uuid4()), "Other")
    finish(history, conversation, accepted, "Done.")
    assert send(history, user, conversation, "Second").seq == 4


def test_the_same_client_msg_id_is_answered_from_the_first_one(history: History, user: str, conversation: str) -> None:
    key = str(uuid.uuid4())
    first = history.add_message(user, conversation, key, "Hello")
    again = history.add_message(user, conversation, key, "Hello")
    assert (again.message_id, again.reply_id, again.seq) == (first.message_id, first.reply_id, first.seq)
    assert again.duplicate
    assert again.events == ()
    assert again.unanswered is None
    with pytest.raises(ConflictError):
        history.add_message(user, conversation, key, "Hello!")
    finish(history, conversation, first, "Hi.")
    history.regenerate_reply(user, conversation, first.reply_id)
    assert history.add_message(user, conversation, key, "Hello").reply_id == first.reply_id


def test_a_client_msg_id_counts_within_its_conversation(history: History, user: str, conversation: str) -> None:
    key = str(uuid.uuid4())
    history.add_message(user, conversation, key, "Hello")
    other = history.create_conversation(user).id
    assert not history.add_message(user, other, key, "Hello").duplicate


def test_edits_and_alternatives_branch_and_the_active_branch_is_the_newest(
    history: History, user: str, conversation: str
) -> None:
    say(history, user, conversation, "One", "1")
    second = say(history, user, conversation, "Two", "2")
    other = history.regenerate_reply(user, conversation, second.reply_id)
    finish(history, conversation, other, "2b")
    assert said(history, conversation) == ["One", "1", "Two", "2b"]
    edited = history.edit_message(user, conversation, second.message_id, str(uuid.uuid4()), "Zwei")
    finish(history, conversation, edited, "2c")
    assert said(history, conversation) == ["One", "1", "Zwei", "2c"]
    back = send(history, user, conversation, "Three", second.reply_id)
    finish(history, conversation, back, "3")
    assert said(history, conversation) == ["One", "1", "Two", "2", "Three", "3"]


def test_a_reply_gets_the_state_and_the_texts_before_its_message(
    history: History, user: str, conversation: str
) -> None:
    first = send(history, user, conversation, "One")
    finish(history, conversation, first, "1", b"of one")
    second = send(history, user, conversation, "Two")
    assert second.unanswered
    assert second.unanswered.context == ("One", "1")
    assert (second.unanswered.state, second.unanswered.checkpoint) == (b"after of one", "first")
    finish(history, conversation, second, "2", b"of two")
    again = history.regenerate_reply(user, conversation, second.reply_id).unanswered
    assert again
    assert (again.utterance, again.context, again.state) == ("Two", ("One", "1"), b"after of one")


def test_the_context_is_the_last_turns_oldest_first_without_what_was_never_said(
    history: History, user: str, conversation: str
) -> None:
    for number in range(CONTEXT_TURNS):
        say(history, user, conversation, f"Q{number}", f"A{number}")
    failed = send(history, user, conversation, "Lost")
    history.finish_reply(conversation, failed.reply_id, FinishedReply("", "failed", "first"))
    unanswered = send(history, user, conversation, "Now").unanswered
    assert unanswered
    assert unanswered.context == ("A5", "Q6", "A6", "Q7", "A7", "Q8", "A8", "Q9", "A9", "Lost")[-CONTEXT_TURNS + 1 :]
    assert unanswered.state is None


def test_seq_has_no_gaps_when_many_act_at_once(history: History, user: str) -> None:
    """Two tabs for each conversation send, rate and rename: whoever is refused uses up no number."""
    conversations = [history.create_conversation(user).id for _ in range(3)]

    def act(number: int) -> None:
        conversation = conversations[number % 3]
        try:
            accepted = send(history, user, conversation, f"Message {number}")
            history.rename_conversation(user, conversation, f"Title {number}")
            finish(history, conversation, accepted, f"Reply {number}")
        except BusyError:
            history.rename_conversation(user, conversation, f"Busy {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(60)))
    for conversation in conversations:
        numbers = seqs(history, user, conversation)
        assert numbers == list(range(1, len(numbers) + 1))
    assert history.unanswered() == []


def test_of_two_tabs_that_send_at_once_one_is_served(history: History, user: str) -> None:
    for _ in range(10):
        conversation = history.create_conversation(user).id
        start = threading.Barrier(2)

        def attempt(name: str, conversation: str = conversation, start: threading.Barrier = start) -> str:
            start.wait()
            try:
                send(history, user, conversation, name)
            except BusyError:
                return "busy"
            return "sent"

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(attempt, ["one", "two"])) == ["busy", "sent"]


def test_one_client_msg_id_sent_many_times_at_once_is_one_message(
    history: History, user: str, conversation: str
) -> None:
    key = str(uuid.uuid4())
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: history.add_message(user, conversation, key, "Once"), range(20)))
    assert len({(result.message_id, result.reply_id, result.seq) for result in results}) == 1
    assert sum(not result.duplicate for result in results) == 1


def test_the_first_message_gives_an_untitled_conversation_its_title(history: History, user: str) -> None:
    conversation = history.create_conversation(user).id
    accepted = send(history, user, conversation, "What  is\nthe " + "very " * 30 + "long question?")
    [stored] = history.conversations(user)
    assert accepted.renamed == stored.summary()
    assert stored.title
    assert stored.title.startswith("What is the very")
    assert len(stored.title) <= 60
    named = history.create_conversation(user, "Mine").id
    assert send(history, user, named, "Hello").renamed is None


def test_conversations_come_newest_first(history: History, user: str) -> None:
    first, second = (history.create_conversation(user).id for _ in range(2))
    assert [found.id for found in history.conversations(user)] == [second, first]
    send(history, user, first, "Hello")
    assert [found.id for found in history.conversations(user)] == [first, second]


def test_feedback_can_be_given_and_changed(history: History, user: str, conversation: str) -> None:
    accepted = say(history, user, conversation, "Hello", "What?")
    history.set_feedback(user, conversation, accepted.reply_id, -1, "Hello!")
    event = history.set_feedback(user, conversation, accepted.reply_id, 1, None)
    assert event.data == {"reply_id": accepted.reply_id, "rating": 1, "better_text": None}
    with Session(history.engine) as session:
        [feedback] = session.scalars(select(tables.Feedback))
        assert (feedback.rating, feedback.better_text) == (1, None)


def test_events_come_in_pages(history: History, user: str, conversation: str) -> None:
    for number in range(3):
        say(history, user, conversation, f"Q{number}", f"A{number}")
    events, more = history.events_after(user, conversation, 2, 4)
    assert ([event.seq for event in events], more) == ([3, 4, 5, 6], True)
    events, more = history.events_after(user, conversation, 6, 4)
    assert ([event.seq for event in events], more) == ([7, 8, 9], False)


def test_an_erased_conversation_leaves_nothing_behind(history: History, user: str, conversation: str) -> None:
    accepted = say(history, user, conversation, "Secret", "Forgotten")
    say(history, user, conversation, "Secret", "Forgotten")
    history.set_feedback(user, conversation, accepted.reply_id, 1, "Secret")
    running = send(history, user, conversation, "Secret")
    kept = history.create_conversation(user).id
    say(history, user, kept, "Kept", "Yes")
    history.delete_conversation(user, conversation)
    assert history.finish_reply(conversation, running.reply_id, FinishedReply("Late", "completed", "first")) is None
    with Session(history.engine) as session:
        counts = {
            model.__tablename__: session.scalar(select(func.count()).select_from(model))
            for model in (tables.Conversation, tables.Turn, tables.Event, tables.Feedback)
        }
    assert counts == {"conversations": 1, "turns": 2, "events": 3, "feedback": 0}


@pytest.mark.parametrize(
    "words", ["'; DROP TABLE turns; --", '<script>alert("x")</script>', "%s %(x)s {0}", "☃ 𝒳 é é ‮", "\\x00 \\"]
)
def test_text_is_only_ever_text(history: History, user: str, words: str) -> None:
    conversation = history.create_conversation(user, words).id
    accepted = say(history, user, conversation, words, words)
    history.set_feedback(user, conversation, accepted.reply_id, 1, words)
    assert said(history, conversation) == [words, words]
    events, _ = history.events_after(user, conversation, 0, 10)
    assert [events[0].data["text"], events[2].data["text"], events[3].data["better_text"]] == [words] * 3
    assert history.conversations(user)[0].title == words


# Opening


def test_an_unusable_database_is_one_sentence(tmp_path: Path) -> None:
    text_file = tmp_path / "notes.txt"
    text_file.write_text("This is no database. " * 100)
    (tmp_path / "file").touch()
    for url in (
        "nonsense",
        "mysql://localhost/x",
        "sqlite://",
        f"sqlite:///{text_file}",
        f"sqlite:///{tmp_path}",
        f"sqlite:///{tmp_path}/file/chatbot.db",
        f"postgresql+psycopg://postgres:secret@/x?host={tmp_path}",
    ):
        with pytest.raises(DatabaseError) as caught:
            open_history(url)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_database_of_a_newer_version_is_refused(database: str) -> None:
    history = open_history(database)
    with history.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    history.engine.dispose()
    with pytest.raises(DatabaseError, match="made by another version"):
        open_history(database)


def test_an_acknowledged_commit_survives_kill_9(database: str) -> None:
    """A process commits and says so, again and again, until it is killed: every number it said is found."""
    history = open_history(database)
    user = history.add_user()[0]
    conversation = history.create_conversation(user).id
    program = f"""
import uuid
from chatbot.history import FinishedReply, open_history
history = open_history({database!r})
for number in range(10_000):
    accepted = history.add_message({user!r}, {conversation!r}, str(uuid.uuid4()), str(number))
    print(number, flush=True)
    history.finish_reply({conversation!r}, accepted.reply_id, FinishedReply("ok", "completed", "first"))
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    acknowledged = [process.stdout.readline() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += process.communicate()[0].splitlines(keepends=True)
    expected = [line.strip() for line in acknowledged if line.endswith("\n")]
    turns = history.active_branch(conversation)
    assert [turn.text for turn in turns if turn.speaker == "user"][: len(expected)] == expected
    numbers = seqs(history, user, conversation)
    assert numbers == list(range(1, len(numbers) + 1))
    history.engine.dispose()


# `chatbot history`


def run(*arguments: str) -> Result:
    return CliRunner().invoke(history_command, arguments)


@pytest.fixture
def filled(history: History, user: str, conversation: str) -> str:
    accepted = say(history, user, conversation, "Hello", "Hi.")
    other = history.regenerate_reply(user, conversation, accepted.reply_id)
    finish(history, conversation, other, "Good <b>day</b>.")
    history.create_conversation(user)
    running = history.create_conversation(user).id
    send(history, user, running, "Anyone?")
    return conversation


def test_history_export_writes_the_active_branches_as_chat_jsonl(
    history: History, filled: str, database: str, tmp_path: Path
) -> None:
    out = tmp_path / "export.jsonl"
    assert run("export", "--database", database, "--out", str(out)).exit_code == 0
    first, second = [json.loads(line) for line in out.read_text().splitlines()]
    assert first["id"] == filled
    assert first["messages"] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Good <b>day</b>."},
    ]
    assert second["messages"] == [{"role": "user", "content": "Anyone?"}]
    assert run("export", "--database", database).stdout == out.read_text()
    assert [first, second] == list(dialogues(history))


def test_history_list_and_show_print_what_was_said(history: History, filled: str, database: str) -> None:
    listed = run("list", "--database", database).stdout
    assert [line for line in listed.splitlines() if line.startswith(filled) and line.endswith("Hello")]
    assert run("show", filled, "--database", database).stdout == "user: Hello\nbot: Good <b>day</b>.\n"


def test_what_is_listed_and_shown_cannot_command_the_terminal(history: History, user: str, database: str) -> None:
    conversation = history.create_conversation(user, "\x1b[2Jtitle\nsecond line").id
    say(history, user, conversation, "\x1b]0;owned\x07Hello", "\x9b31mHi.")
    printed = run("list", "--database", database).stdout + run("show", conversation, "--database", database).stdout
    assert "Hello" in printed
    assert len(printed.splitlines()) == 3
    assert not set("\x1b\x07\x9b") & set(printed)


def test_history_show_of_an_unknown_conversation_is_one_sentence(history: History, database: str) -> None:
    result = run("show", "no-such-thing", "--database", database)
    assert result.exit_code == 2
    assert "There is no conversation no-such-thing" in result.stderr


def test_history_of_a_missing_database_is_one_sentence_and_makes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "chatbot.db"
    result = run("list", "--database", f"sqlite:///{path}")
    assert result.exit_code == 2
    assert f"There is no database at {path}" in result.stderr
    assert not path.parent.exists()


def test_history_export_to_an_impossible_file_is_one_sentence(history: History, database: str, tmp_path: Path) -> None:
    result = run("export", "--database", database, "--out", str(tmp_path / "no" / "such" / "folder.jsonl"))
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_a_reader_that_leaves_early_ends_the_export_quietly(
    history: History, user: str, conversation: str, database: str
) -> None:
    for _ in range(30):
        say(history, user, conversation, "word " * 700, "word " * 700)
    program = "from chatbot.history_commands import history; history()"
    command = [sys.executable, "-c", program, "export", "--database", database]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_a_sqlite_file_is_its_owners_alone(tmp_path: Path) -> None:
    open_history(f"sqlite:///{tmp_path}/chatbot.db").engine.dispose()
    assert (tmp_path / "chatbot.db").stat().st_mode & 0o777 == 0o600


def test_sqlite_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    history = open_history(f"sqlite:///{tmp_path}/chatbot.db")
    other = sqlite3.connect(tmp_path / "chatbot.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert history.conversations() == []
    other.close()
    history.engine.dispose()
