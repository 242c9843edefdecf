"""gunicorn with workers of threads, and what a chat server adds to it: clear refusals at start, drain at the end.

Each connection keeps a thread; each worker owns an engine in another process, and a conversation goes on at any of
them. Everything that starts threads (the engine, the connection pool) is made in the worker, after the fork.
"""

import ctypes
import itertools
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from chatbot.history import DatabaseError, open_history, used
from data.errors import UserError, told_to_user
from web.admin import AdminTokenError, admin_token, token_file
from web.allocator import give_back, keep_few_heaps
from web.config import Settings
from web.heads import MOST_AWAITED, HeadsFirstWorker
from web.lines import SPARE_LINES
from web.rates import COMPLETIONS
from web.workers import Clients, Redis, Siblings, check_redis

if TYPE_CHECKING:
    from web.conversations import Engine

# Beside those of the websockets, each of which keeps one: lines of strangers, completions, and whatever comes and goes.
_SPARE_THREADS = SPARE_LINES + COMPLETIONS + 32
_PR_SET_PDEATHSIG = 1
_OTHER_FILES = 128  # that a worker may have open besides its connections: the database, its engine, the listener


def run(settings: Settings, make_engine: Callable[[], "Engine"]) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises UserError where it cannot start, and SystemExit at the end."""
    try:
        open_history(settings.database).engine.dispose()
    except DatabaseError as error:
        raise UserError(str(error)) from error
    with told_to_user(AdminTokenError):
        admin_token()
    if settings.redis:
        check_redis(settings.redis)
    listener = _listen(settings.host, settings.port)
    with _meeting_place(settings) as folder, _shared_figures():
        try:
            _Server(settings, listener, make_engine, folder).run()
        except SystemExit as end:
            if end.code == Arbiter.WORKER_BOOT_ERROR:  # the worker has said why
                raise SystemExit(2) from None
            raise


@contextmanager
def _meeting_place(settings: Settings) -> Iterator[Path | None]:
    """The folder in which the workers find one another, where they are several and have nothing else for it."""
    if settings.workers == 1 or settings.redis:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="chatbot-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _shared_figures() -> Iterator[None]:
    """The folder in which the workers keep what any of them tells at /metrics; prometheus-client looks for it there."""
    with tempfile.TemporaryDirectory(prefix="chatbot-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"Cannot listen on {host} port {port}: {reason}. Choose another with --host or --port."
        raise UserError(message) from error


class _Server(BaseApplication):
    def __init__(
        self, settings: Settings, listener: socket.socket, make_engine: Callable[[], "Engine"], folder: Path | None
    ) -> None:
        self.settings = settings
        self._make_engine = make_engine
        self._folder = folder
        self._place = 0
        self._address = _address(listener)
        self._descriptor = listener.detach()  # gunicorn's from now on
        super().__init__()

    def load_config(self) -> None:
        threads = self.settings.connections + _SPARE_THREADS
        connections = 2 * threads + MOST_AWAITED
        files = _most_files(connections + _OTHER_FILES)
        options: dict[str, Any] = {
            "bind": f"fd://{self._descriptor}",
            "workers": self.settings.workers,
            "worker_class": _DrainingWorker,
            "threads": threads,
            "worker_connections": min(connections, files - min(_OTHER_FILES, files // 2)),
            "timeout": 120,
            "graceful_timeout": int(self.settings.drain_seconds) + 10,  # the engine ends, too
            "loglevel": "critical",  # of the arbiter; a worker that fails to start speaks for itself
            "control_socket_disable": True,
            "pre_fork": _give_place,
            "post_fork": self._after_fork,
            "child_exit": _forget,
            "post_worker_init": self._announce,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """In the worker."""
        from chatbot.shelf import CheckpointError
        from web.app import create_app

        try:
            with used(self.settings.database):
                return create_app(self.settings, self._make_engine(), self._clients(), self._name())
        except (CheckpointError, DatabaseError) as error:
            click.echo(f"Error: {error}", err=True)
            os._exit(Arbiter.WORKER_BOOT_ERROR)  # not up the stack, which is a copy of the arbiter's

    def _clients(self) -> Clients:
        if self.settings.redis:
            return Redis(self.settings.redis)
        return Siblings(self._folder) if self._folder else Clients()

    def _name(self) -> str:
        """Whoever takes this place next, after a restart too, carries on at once with what is left undone here."""
        return f"{socket.gethostname()} {self._address} {self._place}"

    def _after_fork(self, arbiter: Arbiter, worker: Worker) -> None:
        self._place = worker.place
        logging.getLogger("gunicorn.error").setLevel(logging.WARNING)
        # An engine takes all processors but one, unless there are several to share them.
        if self.settings.workers > 1:
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.settings.workers)))
        if sys.platform == "linux":  # die with the arbiter, however it dies: an orphan would keep the port
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        keep_few_heaps()

    def _announce(self, worker: Worker) -> None:
        give_back()
        if self._place > 0:
            return
        click.echo(f"Chat at {self._address} (Ctrl-C ends it)")
        click.echo(f"Operator's page at {self._address}operator; its token is in {token_file()}")
        sys.stdout.flush()


def _most_files(wanted: int) -> int:
    """Raise the number of files that a process may have open to `wanted`, or as far as the system allows; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        click.echo(f"Only {most} files may be open at once, and {wanted} are wanted (ulimit -n).", err=True)
    return most


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _give_place(arbiter: Arbiter, worker: Worker) -> None:
    """The first that none of the others has."""
    taken = {other.place for other in arbiter.WORKERS.values()}
    worker.place = next(place for place in itertools.count() if place not in taken)


def _forget(arbiter: Arbiter, worker: Worker) -> None:
    """A worker that has ended has no connections and no replies under way; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


class _DrainingWorker(HeadsFirstWorker):
    """On SIGTERM and on Ctrl-C: no new connections, running replies end, then the clients are let go."""

    wsgi: Flask | None = None
    place = 0
    _draining: threading.Thread | None = None

    def handle_exit(self, sig: int, frame: Any) -> None:
        if self._draining is None:
            self._draining = threading.Thread(target=self._drain, name="drain", daemon=True)
            self._draining.start()
        super().handle_exit(sig, frame)

    handle_quit = handle_exit

    def run(self) -> None:
        super().run()
        if self._draining:
            self._draining.join()  # without clients the loop ends first
        os._exit(0)  # all is written; taking a model to pieces, or a thread with a dead client, would hold this up

    def _drain(self) -> None:
        from web.app import drain

        if self.wsgi is not None:
            drain(self.wsgi, self.app.settings.drain_seconds)
