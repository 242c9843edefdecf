"""Writers of one process share SQLite's commits: each waits for the disk, and no longer for many than for one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

_MOST = 16  # writers of one commit; the first of them waits for all


class _Group:
    """The writers of one commit, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.size = connection, 0
        self._ended = threading.Event()
        self._error: Exception | None = None

    def commit(self) -> None:
        try:
            if not self._is_open():
                raise OperationalError("COMMIT", None, Exception("the database undid the transaction by itself"))
            self.connection.commit()
        except Exception as error:  # whatever it is: nobody may think that their work is on the disk
            self._error = error
            self.connection.invalidate()  # its transaction may still be open
        finally:
            self.connection.close()
            self._ended.set()

    def _is_open(self) -> bool:
        """Whether there is something to commit: on a full disk, SQLite undoes it all, and a COMMIT would not mind."""
        connection: Any = self.connection.connection.dbapi_connection
        return bool(connection.in_transaction)

    def wait(self) -> None:
        """Until all of it is on the disk. Raises SQLAlchemyError where nothing of it is."""
        self._ended.wait()
        if self._error:
            raise self._error


class SharedCommits:
    """Transactions of many threads, one after the other, each in a savepoint of its own.

    Whoever finds nobody waiting behind it commits for all before it, and nobody goes on before its own work is
    committed. SQLite's waiting writers would poll; here the lock hands over at once and in turn.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(immediate=True)
        self._turn = threading.Lock()  # of the group
        self._group: _Group | None = None
        self._counting = threading.Lock()
        self._waiting = 0  # writers that will have their turn

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One writer's transaction. What it raises undoes its own work only."""
        with self._own_turn():
            group = self._group = self._group or self._begin()
            group.size += 1
            try:
                with _savepoint(group.connection) as session:
                    yield session
            except SQLAlchemyError:
                group.size = _MOST  # SQLite may have undone more than the savepoint: let nobody join, and see
                raise
            finally:
                if not self._waiting or group.size >= _MOST:
                    self._commit()
        group.wait()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While no transaction of this process is open."""
        with self._own_turn():
            if self._group:
                self._commit()
            yield

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        self._count(1)
        try:
            self._turn.acquire()
        finally:
            self._count(-1)
        try:
            yield
        finally:
            self._turn.release()

    def _count(self, change: int) -> None:
        with self._counting:
            self._waiting += change

    def _begin(self) -> _Group:
        connection = self._engine.connect()
        try:
            connection.begin()
        except BaseException:
            connection.close()
            raise
        return _Group(connection)

    def _commit(self) -> None:
        assert self._group is not None
        group, self._group = self._group, None  # whatever comes of it, nobody joins it any more
        group.commit()


@contextmanager
def _savepoint(connection: Connection) -> Iterator[Session]:
    how: dict[str, Any] = {"join_transaction_mode": "create_savepoint", "expire_on_commit": False}
    with Session(connection, **how) as session, session.begin():
        yield session
