"""The stored conversations, on SQLite and on a real PostgreSQL."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import CliRunner, Result
from sqlalchemy import func, inspect, select, text, update
from sqlalchemy.orm import Session

from chatbot import history as tables
from chatbot.forgetting import hash_of
from chatbot.history import (
    CONTEXT_TURNS,
    Accepted,
    BusyError,
    ConflictError,
    DatabaseError,
    FinishedReply,
    History,
    NotFoundError,
    UnknownUserError,
    connect,
    dialogues,
    open_history,
)
from chatbot.history_commands import history as history_command
from chatbot.home import home
from chatbot.migrations import downgrade, upgrade
from tests.clients import ROOT
from tests.echo_engine import EchoEngine
from web.conversations import ConversationService


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


def prepared_from(conversation: str) -> Path:
    """The data of a retraining that took this conversation."""
    run = home() / "retrain" / str(uuid.uuid4())
    (run / "prepared").mkdir(parents=True)
    (run / "data.json").write_text(json.dumps({"conversations": [hash_of(conversation)]}))
    return run / "prepared"


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


def test_what_was_said_before_anybody_was_asked_is_not_learned_from(database: str) -> None:
    engine = connect(database)
    upgrade(engine, "0001")
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO users VALUES ('u', 'hash', CURRENT_TIMESTAMP)",
            "INSERT INTO conversations VALUES ('c', 'u', 'Old', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 1, 't')",
            "INSERT INTO turns (id, conversation_id, speaker, text, status, seq, created_at) "
            "VALUES ('t', 'c', 'bot', 'Of old.', 'completed', 1, CURRENT_TIMESTAMP)",
        ):
            connection.execute(text(statement))
    engine.dispose()
    history = open_history(database)
    assert [found.learn for found in history.conversations()] == [False]
    assert [turn.is_retrieved for turn in history.active_branch("c")] == [False]
    assert list(history.lessons()) == []
    history.engine.dispose()


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
        lambda: history.choose_reply(other, conversation, accepted.reply_id),
        lambda: history.reply_status(other, conversation, accepted.reply_id),
        lambda: history.rename_conversation(other, conversation, "Stolen"),
        lambda: history.set_learning(other, conversation, True),
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
        lambda: history.choose_reply(user, conversation, accepted.reply_id),
    ]
    for attempt in attempts:
        with pytest.raises(NotFoundError):
            attempt()


# Turns


def test_a_message_starts_its_reply_in_the_same_transaction(history: History, user: str, conversation: str) -> None:
    accepted = send(history, user, conversation, "Hello")
    assert [event.type for event in accepted.events] == ["message.created", "reply.started"]
    assert accepted.seq == 1
    [unanswered] = history.take_over(10, own=True)
    assert (unanswered.reply_id, unanswered.utterance, unanswered.context) == (accepted.reply_id, "Hello", ())
    assert unanswered == accepted.unanswered


def test_a_finished_reply_is_no_longer_unanswered_and_ends_only_once(
    history: History, user: str, conversation: str
) -> None:
    accepted = say(history, user, conversation, "Hello", "Hi.")
    assert history.take_over(10, own=True) == []
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


def test_a_branch_is_chosen_by_the_reply_that_it_ends_in(history: History, user: str, conversation: str) -> None:
    first = say(history, user, conversation, "One", "1")
    say(history, user, conversation, "Two", "2")
    other = history.regenerate_reply(user, conversation, first.reply_id)
    with pytest.raises(BusyError):
        history.choose_reply(user, conversation, first.reply_id)
    finish(history, conversation, other, "1b")
    event = history.choose_reply(user, conversation, first.reply_id)
    assert (event.type, event.data) == ("reply.chosen", {"reply_id": first.reply_id})
    say(history, user, conversation, "Three", "3")
    assert said(history, conversation) == ["One", "1", "Three", "3"]


def test_a_search_finds_the_users_own_words_in_any_branch_and_case(history: History, user: str) -> None:
    other, theirs = history.add_user()[0], []
    for who in (user, user, other):
        theirs.append(history.create_conversation(who).id)
        said = say(history, who, theirs[-1], "Grüße aus ÖSTERREICH", "100% schön")
        history.edit_message(who, theirs[-1], said.message_id, str(uuid.uuid4()), "Hello")
    first, second, _ = theirs
    greeting, praise = "Grüße aus ÖSTERREICH", "100% schön"
    assert history.search(user, "österreich", 10) == [(second, greeting), (first, greeting)]
    assert history.search(user, "SCHÖN", 1) == [(second, praise)]
    assert history.search(user, "0% s", 10) == [(second, praise), (first, praise)]
    assert history.search(user, "0%s", 10) == history.search(user, "0_ s", 10) == []


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
    assert (second.unanswered.beside, again.beside) == ((), ("2",))


def test_the_context_is_the_last_turns_oldest_first_without_what_was_never_said(
    history: History, user: str, conversation: str
) -> None:
    for number in range(CONTEXT_TURNS):
        say(history, user, conversation, f"Q{number}", f"A{number}")
    failed = send(history, user, conversation, "Lost")
    history.finish_reply(conversation, failed.reply_id, FinishedReply("", "failed", "first"))
    unanswered = send(history, user, conversation, "Now").unanswered
    assert unanswered
    said = [f"{letter}{number}" for number in range(CONTEXT_TURNS) for letter in "QA"]
    assert unanswered.context == (*said, "Lost")[-CONTEXT_TURNS + 1 :]
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
    assert history.take_over(10, own=True) == []


def test_a_reply_is_its_workers_until_the_lease_ends_and_then_goes_to_one_of_the_others(
    history: History, user: str, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [History(history.engine, f"worker {number}") for number in range(4)]
    accepted = send(history, user, conversation, "Hello")
    assert others[0].take_over(10, own=True) == []
    with monkeypatch.context() as patched:
        patched.setattr(tables, "LEASE_SECONDS", -1)
        assert history.renew([accepted.reply_id]) == {accepted.reply_id}
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda other: other.take_over(10), others))
    assert sorted(taken, key=len) == [[], [], [], [accepted.unanswered]]
    assert history.renew([accepted.reply_id]) == set()
    [winner] = [other for other, given in zip(others, taken, strict=True) if given]
    assert winner.renew([accepted.reply_id]) == {accepted.reply_id}
    late = FinishedReply("Late", "completed", "first")
    assert history.finish_reply(conversation, accepted.reply_id, late) is None
    finish(winner, conversation, accepted, "Hi.")
    assert winner.renew([accepted.reply_id]) == set()


def test_no_more_is_taken_over_than_there_is_room_for(history: History, user: str) -> None:
    sent = [send(history, user, history.create_conversation(user).id, "Hello").reply_id for _ in range(5)]
    assert [found.reply_id for found in history.take_over(2, own=True)] == sent[:2]


def test_a_reply_that_was_started_before_there_were_leases_is_taken_over(database: str) -> None:
    engine = connect(database)
    upgrade(engine, "0003")
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO users VALUES ('u', 'hash', CURRENT_TIMESTAMP)",
            "INSERT INTO conversations (id, user_id, created_at, updated_at, last_seq, active_leaf_id, learn) "
            "VALUES ('c', 'u', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 2, 'r', false)",
            "INSERT INTO turns (id, conversation_id, parent_id, speaker, text, status, seq, created_at) VALUES "
            "('q', 'c', NULL, 'user', 'Anybody?', 'completed', 1, CURRENT_TIMESTAMP), "
            "('r', 'c', 'q', 'bot', '', 'started', 2, CURRENT_TIMESTAMP)",
        ):
            connection.execute(text(statement))
    engine.dispose()
    history = open_history(database, worker="new")
    assert [found.utterance for found in history.take_over(10)] == ["Anybody?"]
    history.engine.dispose()


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


def test_conversations_are_handed_out_by_pages(history: History, user: str) -> None:
    other, _ = history.add_user()
    made = [history.create_conversation(who).id for who in (user, other, user, other, user)]
    moment = history.conversations()[0].updated_at
    with history._write() as session:
        session.execute(update(tables.Conversation).values(updated_at=moment))  # all at once: then the ids are in order
    made.sort()
    first, more = history.page([user, other], 3)
    rest, no_more = history.page([user, other], 3, (moment, first[-1].id))
    assert ([one.id for one in first + rest], more, no_more) == (made, True, False)
    assert len(history.page([user], 5)[0]) == 3


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


def test_feedback_without_rating_and_text_takes_back_what_was_given(
    history: History, user: str, conversation: str
) -> None:
    accepted = say(history, user, conversation, "Hello", "What?")
    history.set_feedback(user, conversation, accepted.reply_id, 0, "Hello!")
    history.set_feedback(user, conversation, accepted.reply_id, 0, None)
    history.set_feedback(user, conversation, accepted.reply_id, 0, None)
    with Session(history.engine) as session:
        assert session.scalars(select(tables.Feedback)).all() == []


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


def test_an_erased_user_leaves_nothing_behind_and_nothing_comes_back(history: History, user: str) -> None:
    stranger = history.add_user()[0]
    kept = history.create_conversation(stranger).id
    say(history, stranger, kept, "Kept", "Yes")
    mine = [history.create_conversation(user, learn=True).id for _ in range(2)]
    rated = say(history, user, mine[0], "Secret", "Forgotten")
    history.set_feedback(user, mine[0], rated.reply_id, 1, "Secret")
    running = send(history, user, mine[1], "Secret")
    assert sorted(history.delete_user(user)) == sorted(mine)
    assert history.finish_reply(mine[1], running.reply_id, FinishedReply("Late", "completed", "first")) is None
    for attempt in (history.create_conversation, history.delete_user, history.check_user):
        with pytest.raises(UnknownUserError):
            attempt(user)
    with pytest.raises(NotFoundError):
        send(history, user, mine[0], "Secret")
    with Session(history.engine) as session:
        counts = {
            model.__tablename__: session.scalar(select(func.count()).select_from(model))
            for model in (tables.User, tables.Conversation, tables.Turn, tables.Event, tables.Feedback)
        }
    assert counts == {"users": 1, "conversations": 1, "turns": 2, "events": 3, "feedback": 0}


def test_a_user_who_is_erased_while_much_is_said_is_gone(history: History, user: str) -> None:
    """Four tabs begin conversations and talk when the user is erased: they are refused, and nothing is left."""

    def talk(_: int) -> None:
        for number in range(20):
            try:
                say(history, user, history.create_conversation(user).id, f"Message {number}", "Yes")
            except (UnknownUserError, NotFoundError, AssertionError):  # the last: its reply found no turn to end
                return

    with ThreadPoolExecutor(5) as pool:
        talking = [pool.submit(talk, tab) for tab in range(4)]
        pool.submit(history.delete_user, user).result()
        for tab in talking:
            tab.result()
    assert history.conversations() == []


@pytest.mark.parametrize("erased", ["user", "conversation", "untouched"])
def test_what_is_erased_is_in_no_byte_of_the_sqlite_files(tmp_path: Path, erased: str) -> None:
    """Long texts (on pages of their own), short ones beside those of others, and what only the log still had."""
    history = open_history(f"sqlite:///{tmp_path}/chatbot.db")
    user, other = history.add_user()[0], history.add_user()[0]
    phrase = "quokka-marmalade"
    conversation, kept = history.create_conversation(user, phrase).id, history.create_conversation(other).id
    for number in range(40):
        accepted = say(history, user, conversation, f"{phrase} {number}", f"{phrase} " * (number * 17 % 300 + 1))
        history.set_feedback(user, conversation, accepted.reply_id, -1, f"better {phrase}")
        say(history, other, kept, f"kept {number}", "word " * (number * 29 % 200 + 1))
    assert phrase.encode() in everything_in(tmp_path)
    if erased == "user":
        history.delete_user(user)
    elif erased == "conversation":
        history.delete_conversation(user, conversation)
    else:
        touched_before(history, conversation, datetime(2000, 1, 1, tzinfo=UTC))
        history.delete_untouched(datetime(2001, 1, 1, tzinfo=UTC))
    assert b"kept 39" in everything_in(tmp_path)
    assert phrase.encode() not in everything_in(tmp_path)
    history.engine.dispose()


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def touched_before(history: History, conversation: str, moment: datetime) -> None:
    row = update(tables.Conversation).where(tables.Conversation.id == conversation)
    with history.engine.begin() as connection:  # nothing read before: SQLite lets no reader wait to become a writer
        assert connection.execute(row.values(updated_at=moment)).rowcount == 1


def test_a_reader_who_does_not_finish_only_puts_off_the_emptying_of_the_log(tmp_path: Path) -> None:
    history = open_history(f"sqlite:///{tmp_path}/chatbot.db")
    user = history.add_user()[0]
    first, second = (history.create_conversation(user, f"numbat {number}").id for number in range(2))
    reader = sqlite3.connect(tmp_path / "chatbot.db", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM conversations").fetchone() == (2,)
    history.delete_conversation(user, first)
    reader.close()
    history.delete_conversation(user, second)
    assert b"numbat" not in everything_in(tmp_path)
    history.engine.dispose()


def test_what_was_not_touched_for_long_is_erased(history: History, user: str) -> None:
    old, older, new = (history.create_conversation(user).id for _ in range(3))
    for conversation in (old, older, new):
        say(history, user, conversation, "Hello", "Hi.")
    limit = datetime.now(UTC) - timedelta(days=30)
    touched_before(history, old, limit + timedelta(hours=1))
    touched_before(history, older, limit - timedelta(hours=1))
    assert history.delete_untouched(limit) == [(user, older)]
    assert history.delete_untouched(limit) == []
    assert {found.id for found in history.conversations()} == {old, new}


# Learning


def test_only_conversations_whose_people_agreed_are_lessons(history: History, user: str) -> None:
    stored, first, second = (history.create_conversation(user, learn=learn).id for learn in (False, True, True))
    for conversation in (stored, second, first):
        say(history, user, conversation, "Hello", "Hi.")
    history.create_conversation(user, learn=True)  # in which nothing was said
    assert [lesson.conversation_id for lesson in history.lessons()] == [first, second]
    _, event = history.set_learning(user, first, False)
    assert (event.type, event.data) == ("conversation.learning", {"learn": False})
    conversation, _ = history.set_learning(user, stored, True)
    assert conversation.summary()["learn"] is True
    lessons = history.lessons()
    assert next(lessons).conversation_id == stored
    history.set_learning(user, second, False)  # too late for the list of lessons, but not for the lesson
    assert list(lessons) == []


def test_a_lesson_is_the_active_branch_with_what_was_thought_of_it(history: History, user: str) -> None:
    conversation = history.create_conversation(user, learn=True).id
    edited = say(history, user, conversation, "One", "1")
    history.set_feedback(user, conversation, edited.reply_id, -1, "Eins")
    poor = say(history, user, conversation, "Two", "2")
    history.set_feedback(user, conversation, poor.reply_id, -1, None)
    good = history.regenerate_reply(user, conversation, poor.reply_id)
    found = FinishedReply("Zwei", "completed", "first", is_retrieved=True)
    history.finish_reply(conversation, good.reply_id, found)
    history.set_feedback(user, conversation, good.reply_id, 1, None)
    send(history, user, conversation, "Three")
    [lesson] = history.lessons()
    assert (lesson.conversation_id, lesson.user_id) == (conversation, user)
    assert [(turn.speaker, turn.text, turn.rating, turn.better_text, turn.is_retrieved) for turn in lesson.turns] == [
        ("user", "One", 0, None, False),
        ("bot", "1", -1, "Eins", False),
        ("user", "Two", 0, None, False),
        ("bot", "Zwei", 1, None, True),
        ("user", "Three", 0, None, False),
    ]


def test_a_training_run_is_recorded_from_its_beginning_to_its_end(history: History) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    history.begin_run(first, "parent")
    history.update_run(first, status="failed", report={"why": "the disk was full"})
    history.begin_run(second, "parent")
    history.update_run(second, progress={"stage": "train", "step": 3})
    running, failed = history.runs()
    assert (running.id, running.status, running.ended_at) == (second, "running", None)
    assert (running.progress, running.report, running.checkpoint) == ({"stage": "train", "step": 3}, None, None)
    assert (failed.status, failed.report) == ("failed", {"why": "the disk was full"})
    assert failed.ended_at
    assert running.updated_at > running.started_at
    history.begin_run(first, "parent")  # it is resumed
    resumed = history.runs()[1]
    assert (resumed.status, resumed.ended_at, resumed.started_at) == ("running", None, failed.started_at)
    assert [run.id for run in history.runs(limit=1)] == [second]
    with pytest.raises(NotFoundError):
        history.update_run(str(uuid.uuid4()), status="completed")


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
    [line] = [line for line in listed.splitlines() if line.startswith(filled)]
    assert f"{history.conversations()[0].user_id}  store  Hello" in line
    assert run("show", filled, "--database", database).stdout == "user: Hello\nbot: Good <b>day</b>.\n"


def test_a_retrieved_reply_is_marked_wherever_it_is_read(
    history: History, user: str, conversation: str, database: str
) -> None:
    accepted = send(history, user, conversation, "Me too")
    found = FinishedReply("So do I.", "completed", "first", is_retrieved=True)
    event = history.finish_reply(conversation, accepted.reply_id, found)
    assert event
    assert event.data["retrieved"] is True
    [dialogue] = dialogues(history)
    assert dialogue["messages"] == [
        {"role": "user", "content": "Me too"},
        {"role": "assistant", "content": "So do I.", "retrieved": True},
    ]
    assert run("show", conversation, "--database", database).stdout == "user: Me too\nbot: So do I. (retrieved)\n"


def test_a_fixed_answer_is_marked_wherever_it_is_read_and_not_to_be_learned(
    history: History, user: str, conversation: str, database: str
) -> None:
    accepted = send(history, user, conversation, "Are you human?")
    fixed = FinishedReply("I am a bot.", "completed", "first", guarded="human")
    event = history.finish_reply(conversation, accepted.reply_id, fixed)
    assert event
    assert event.data["guarded"] == "human"
    assert [turn.guarded for turn in history.active_branch(conversation)] == [None, "human"]
    [dialogue] = dialogues(history)
    assert dialogue["messages"][1] == {
        "role": "assistant", "content": "I am a bot.", "guarded": "human", "weight": 0,
    }  # fmt: skip
    shown = run("show", conversation, "--database", database).stdout
    assert shown == "user: Are you human?\nbot: I am a bot. (fixed answer: human)\n"


def test_a_fixed_answer_is_not_to_be_reviewed(history: History, user: str, conversation: str) -> None:
    accepted = send(history, user, conversation, "Are you human?")
    history.finish_reply(conversation, accepted.reply_id, FinishedReply("A bot.", "completed", "x", guarded="human"))
    history.set_feedback(user, conversation, accepted.reply_id, -1, None)
    assert history.count_reviews() == {False: 0, True: 0}


def test_history_export_of_a_user_is_theirs_alone(history: History, user: str, filled: str, database: str) -> None:
    other = history.add_user()[0]
    say(history, other, history.create_conversation(other).id, "Theirs", "Yes")
    lines = run("export", "--database", database, "--user", other).stdout.splitlines()
    assert [[message["content"] for message in json.loads(line)["messages"]] for line in lines] == [["Theirs", "Yes"]]
    nobody = run("export", "--database", database, "--user", "nobody")
    assert (nobody.exit_code, nobody.stdout) == (2, "")
    assert "There is no user nobody" in nobody.stderr


def test_history_delete_erases_one_conversation(history: History, filled: str, database: str) -> None:
    assert run("delete", filled, "--database", database).stdout == "Erased 1 conversation.\n"
    assert filled not in [found.id for found in history.conversations()]
    again = run("delete", filled, "--database", database)
    assert again.exit_code == 2
    assert f"There is no conversation {filled}" in again.stderr


def test_history_delete_user_asks_first(history: History, user: str, filled: str, database: str) -> None:
    command = ["delete-user", user, "--database", database]
    refused = CliRunner().invoke(history_command, command, input="n\n")
    assert f"Erase {user} and 3 conversations for good?" in refused.output
    assert refused.exit_code == 1
    assert len(history.conversations()) == 3
    assert "Erased the user and 3 conversations." in CliRunner().invoke(history_command, command, input="y\n").stdout
    assert history.conversations() == []
    again = run(*command, "--yes")
    assert again.exit_code == 2
    assert f"There is no user {user}" in again.stderr


def test_history_migrate_makes_the_tables_and_leaves_them_as_they_are(database: str) -> None:
    for _ in range(2):
        assert run("migrate", "--database", database).stdout == "The tables are up to date.\n"
    history = open_history(database, create=False)
    assert history.conversations() == []
    history.engine.dispose()


def test_history_prune_erases_what_was_not_touched(
    history: History, user: str, conversation: str, database: str
) -> None:
    touched_before(history, conversation, datetime.now(UTC) - timedelta(days=8))
    assert run("prune", "--keep-days", "9", "--database", database).stdout == "Erased 0 conversations.\n"
    assert run("prune", "--keep-days", "7", "--database", database).stdout == "Erased 1 conversation.\n"
    assert history.conversations() == []
    assert run("prune", "--keep-days", "0", "--database", database).exit_code == 2


def test_what_a_command_erases_is_forgotten_by_the_retrainings(
    history: History, user: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "home"))
    for command in ("delete", "delete-user", "prune"):
        conversation = history.create_conversation(user, learn=True).id
        laid_by = prepared_from(conversation)
        touched_before(history, conversation, datetime.now(UTC) - timedelta(days=8))
        arguments = {"delete": [conversation], "delete-user": [user, "--yes"], "prune": ["--keep-days", "7"]}[command]
        assert run(command, *arguments, "--database", database).exit_code == 0
        assert not laid_by.exists()
        user = history.add_user()[0]


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


# Damage, passwords, and what is left of what was erased


def damaged(tmp_path: Path, table: str) -> str:
    """A database with conversations in which the first page of a table is noise."""
    file = tmp_path / "damaged.db"
    stored = open_history(f"sqlite:///{file}")
    user, _ = stored.add_user()
    send(stored, user, stored.create_conversation(user).id, "Hello")
    stored.engine.dispose()
    with closing(sqlite3.connect(file)) as connection:
        [page] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    with file.open("r+b") as content:
        content.seek((page - 1) * 4096)
        content.write(b"\xa5" * 4096)
    return f"sqlite:///{file}"


@pytest.mark.parametrize("command", [["list"], ["export"], ["prune", "--keep-days", "1"]])
def test_a_damaged_database_is_told_of_in_one_sentence(tmp_path: Path, command: list[str]) -> None:
    result = run(*command, "--database", damaged(tmp_path, "conversations"))
    assert result.exit_code == 2
    assert result.stderr.strip().count("\n") == 0
    assert "database disk image is malformed. Restore a backup" in result.stderr


def test_a_server_does_not_start_on_a_damaged_database(tmp_path: Path) -> None:
    url = damaged(tmp_path, "turns")
    server = [sys.executable, str(ROOT / "tests" / "echo_server.py"), "--database", url]
    ended = subprocess.run(server, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.strip().count("\n") == 0
    assert "database disk image is malformed" in ended.stderr


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ann:geheim@127.0.0.1:1/chat",
        "postgresql+psycopg://ann:ge/heim@x@127.0.0.1:1/chat",
        "postgresql+psycopg://127.0.0.1:1/chat?user=ann&password=geheim",
        "postgresql+psycopg://ann:geheim@127.0.0.1:port/chat",
        "postgres://ann:geheim@127.0.0.1/chat",
        "nonsense://ann:geheim@127.0.0.1/chat",
    ],
)
def test_a_password_is_never_printed(url: str) -> None:
    result = run("list", "--database", url)
    assert result.exit_code == 2
    assert "heim" not in result.output
    assert "***" in result.stderr


def test_an_export_is_its_owners_alone(history: History, filled: str, database: str, tmp_path: Path) -> None:
    (tmp_path / "old.jsonl").touch(0o644)
    for out in (tmp_path / "new.jsonl", tmp_path / "old.jsonl"):
        assert run("export", "--database", database, "--out", str(out)).exit_code == 0
        assert stat.S_IMODE(out.stat().st_mode) == 0o600


def log_of(tmp_path: Path) -> bytes:
    return (tmp_path / "chat.db-wal").read_bytes()


def test_what_was_erased_leaves_the_log_once_nobody_reads_any_more(tmp_path: Path) -> None:
    stored = open_history(f"sqlite:///{tmp_path}/chat.db")
    user, _ = stored.add_user()
    conversation = stored.create_conversation(user).id
    send(stored, user, conversation, "My secret is out")
    with closing(sqlite3.connect(tmp_path / "chat.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM turns").fetchone()
        stored.delete_conversation(user, conversation)
        assert b"My secret is out" in log_of(tmp_path)
        assert not stored.wait_until_emptied(0.1)
    assert stored.wait_until_emptied(30)
    assert log_of(tmp_path) == b""
    assert b"My secret is out" not in (tmp_path / "chat.db").read_bytes()
    stored.engine.dispose()


def test_a_log_that_a_dead_server_left_is_emptied_by_the_next_one(tmp_path: Path) -> None:
    stored = open_history(f"sqlite:///{tmp_path}/chat.db")
    stored.add_user()
    assert log_of(tmp_path) != b""
    service = ConversationService(stored, EchoEngine(), lambda *_: None)
    service.start()
    assert stored.wait_until_emptied(30)
    assert log_of(tmp_path) == b""
    service.close()
    stored.engine.dispose()
