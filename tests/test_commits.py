"""Writers that share a commit: nobody goes on before it, and nobody's failure is another's."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, Integer, event, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session, declarative_base, mapped_column

from chatbot.commits import SharedCommits
from chatbot.history import connect


class Said(declarative_base()):  # type: ignore[misc]
    __tablename__ = "said"
    id = mapped_column(Integer, primary_key=True)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path}/chatbot.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE said (id INTEGER PRIMARY KEY)"))
    yield engine
    engine.dispose()


@pytest.fixture
def commits(engine: Engine) -> list[int]:
    """Grows by one with each commit."""
    counted: list[int] = []
    event.listen(engine, "commit", lambda connection: counted.append(1))
    return counted


def say(session: Session, number: int) -> None:
    session.execute(text("INSERT INTO said VALUES (:number)"), {"number": number})


def said(engine: Engine) -> set[int]:
    with engine.connect() as connection:
        return set(connection.scalars(text("SELECT id FROM said")))


def together(shared: SharedCommits, works: list[Callable[[Session], None]]) -> list[Future[None]]:
    """Each work by a thread of its own; the first holds its turn until all others wait for theirs."""
    waiting = threading.Event()

    def write(work: Callable[[Session], None]) -> None:
        with shared.write() as session:
            waiting.wait()
            work(session)

    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(write, works[0])]
        while shared._group is None:
            pass
        futures += [pool.submit(write, work) for work in works[1:]]
        while shared._waiting < len(works) - 1:
            pass
        waiting.set()
    return futures


def test_those_who_wait_for_their_turn_share_a_commit(engine: Engine, commits: list[int]) -> None:
    shared = SharedCommits(engine)
    for future in together(shared, [lambda session, n=n: say(session, n) for n in range(12)]):  # type: ignore[misc]
        future.result()
    assert said(engine) == set(range(12))
    assert len(commits) == 1


def test_a_commit_is_not_put_off_for_ever(engine: Engine, commits: list[int]) -> None:
    shared = SharedCommits(engine)
    together(shared, [lambda session, n=n: say(session, n) for n in range(40)])  # type: ignore[misc]
    assert said(engine) == set(range(40))
    assert len(commits) == 3  # of 16, 16 and 8


def test_whoever_goes_on_has_been_committed(engine: Engine) -> None:
    shared = SharedCommits(engine)
    seen: list[bool] = []

    def write(number: int) -> None:
        with shared.write() as session:
            say(session, number)
        seen.append(number in said(engine))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(80)))
    assert seen == [True] * 80


@pytest.mark.parametrize("error", [LookupError("no such conversation"), IntegrityError("INSERT", {}, Exception())])
def test_what_one_raises_undoes_its_own_work_only(engine: Engine, error: Exception) -> None:
    def fail(session: Session) -> None:
        say(session, 1)
        raise error

    works = [lambda session: say(session, 0), fail, lambda session: say(session, 2)]
    futures = together(SharedCommits(engine), works)
    assert [type(future.exception()) for future in futures] == [type(None), type(error), type(None)]
    assert said(engine) == {0, 2}


def test_an_object_that_cannot_be_stored_undoes_its_own_writer_only(engine: Engine) -> None:
    def twice(session: Session) -> None:
        session.add_all([Said(id=1), Said(id=0)])  # written at the end, when 0 is there

    works = [lambda session: say(session, 0), twice, lambda session: say(session, 2)]
    futures = together(SharedCommits(engine), works)
    assert [type(future.exception()) for future in futures] == [type(None), IntegrityError, type(None)]
    assert said(engine) == {0, 2}


def test_where_the_database_itself_undoes_a_transaction_nobody_believes_it_committed(engine: Engine) -> None:
    def undo(session: Session) -> None:
        session.connection().exec_driver_sql("ROLLBACK")  # as SQLite does it where the disk is full
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    futures = together(SharedCommits(engine), [lambda session: say(session, 0), undo])
    assert all(isinstance(future.exception(), OperationalError) for future in futures)
    assert said(engine) == set()
    with SharedCommits(engine).write() as session:
        say(session, 1)
    assert said(engine) == {1}


def test_where_the_commit_fails_nobody_is_told_that_it_did_not(engine: Engine) -> None:
    shared = SharedCommits(engine)

    def disk_full(connection: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("database or disk is full"))

    event.listen(engine, "commit", disk_full)
    futures = together(shared, [lambda session, n=n: say(session, n) for n in range(3)])  # type: ignore[misc]
    assert {type(future.exception()) for future in futures} == {OperationalError}
    assert said(engine) == set()
    event.remove(engine, "commit", disk_full)
    with shared.write() as session:
        say(session, 7)
    assert said(engine) == {7}


def test_alone_means_that_no_transaction_is_open(engine: Engine, commits: list[int]) -> None:
    shared = SharedCommits(engine)

    def checkpoint() -> None:
        with shared.alone(), engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] == 0

    with ThreadPoolExecutor(2) as pool, shared.write() as session:
        say(session, 1)
        waits = pool.submit(checkpoint)
        while not shared._waiting:
            pass
    waits.result()
    assert said(engine) == {1}


def test_whatever_a_commit_fails_with_nobody_of_it_goes_on_and_the_next_ones_do(engine: Engine) -> None:
    shared, failures = SharedCommits(engine), iter([RuntimeError("The disk is on fire.")])

    def fail(connection: object) -> None:
        for failure in failures:
            raise failure

    event.listen(engine, "commit", fail)
    futures = together(shared, [partial(say, number=number) for number in range(3)])
    assert [type(future.exception(20)) for future in futures] == [RuntimeError] * 3
    with shared.write() as session:
        say(session, 3)
    assert said(engine) == {3}
