"""gunicorn's threads are for requests that are here: whoever sends one slowly or never, or stays after it, has none.

Its own worker gives each connection a thread from the first byte on, and closes connections on everybody's time: a few
hundred clients that send half a request keep all others out.
"""

import errno
import os
import selectors
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

SPARE_THREADS = 32  # for pages, REST and health, whatever the others are busy with
MOST_AWAITED = 1_000  # requests at once; the one that is awaited longest makes room
_HEAD_SECONDS = 10  # in which the head of a request has to be here
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_HEAD_BYTES = 64 * 1024
_STALL_SECONDS = 10  # in which a request's body, or the reader of its answer, has to get on
_PARTING_SECONDS = 0.2  # in which whoever was answered before all was read has to end


class HeadsFirstWorker(ThreadWorker):
    def get_thread_pool(self) -> ThreadPoolExecutor:
        self._spare = ThreadPoolExecutor(SPARE_THREADS)
        pool: ThreadPoolExecutor = super().get_thread_pool()
        return pool

    def enqueue_req(self, conn: TConn) -> None:
        conn.init()
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + _HEAD_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._read_head, conn))
        self._read_head(conn, conn.sock)  # most come in one piece, and at once
        if len(self.pending_conns) > min(MOST_AWAITED, self.worker_connections // 2):
            self._drop_longest_awaited()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; without this, gunicorn's worker would end where no more files may be opened."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self.murder_keepalived(force=True)
            self._drop_longest_awaited()
            time.sleep(0.01)  # until a connection ends and its file is free

    def _drop_longest_awaited(self) -> None:
        if self.pending_conns:
            self.pending_conns[0].timeout = 0
            self.murder_pending()

    def _read_head(self, conn: TConn, client: socket.socket) -> None:
        arrived = conn.parser.unreader.buf
        arrived.seek(0, os.SEEK_END)
        try:
            is_open = arrived.write(client.recv(_HEAD_BYTES)) > 0
        except BlockingIOError:
            is_open = True
        except OSError:
            is_open = False
        head, end, _ = arrived.getvalue().partition(b"\r\n\r\n")
        if is_open and not end:
            if len(head) < _HEAD_BYTES:
                return
            client.shutdown(socket.SHUT_RD)  # there will not be more of it
        self.poller.unregister(client)
        self.pending_conns.remove(conn)
        conn.takes_long = _takes_long(head)
        self._give_thread(conn, self.tpool if conn.takes_long else self._spare)

    def _give_thread(self, conn: TConn, pool: ThreadPoolExecutor) -> None:
        future = pool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def handle(self, conn: TConn) -> Any:
        outcome = super().handle(conn)
        if outcome is False:
            _part(conn.sock, _PARTING_SECONDS if conn.takes_long else 0)
        return outcome

    def handle_request(self, req: Any, conn: TConn) -> bool:
        if not req.path.startswith("/socket.io/"):  # a websocket may be silent for as long as it answers pings
            conn.sock.settimeout(_STALL_SECONDS)
        was_to_close = req.should_close
        req.should_close = lambda: was_to_close() or _is_unread(req)  # asked when the head of the answer is written
        return bool(super().handle_request(req, conn))


def _is_unread(request: Any) -> bool:
    """Tell whether a part of its body was not read. The connection then ends, and the answer has to say so."""
    reader = request.body.reader
    return bool(reader.length if hasattr(reader, "length") else getattr(reader, "parser", None))


def _takes_long(head: bytes) -> bool:
    """Whether it asks for a websocket, or has a body that may be slow to come."""
    head = head.lower()
    return b" /socket.io/" in head or b"\ncontent-length:" in head or b"\ntransfer-encoding:" in head


def _part(connection: socket.socket, seconds: float) -> None:
    """End a connection here, where gunicorn would wait for the other side on everybody's time.

    Whoever is still sending, for `seconds`, would lose the answer were what they send not read.
    """
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(seconds)
        while connection.recv(_HEAD_BYTES):
            pass
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
