"""What Prometheus reads at /metrics: whoever holds the operator's token, and nobody else.

Several workers keep their figures in files that they share (PROMETHEUS_MULTIPROC_DIR, which the server makes), so any
of them tells those of all. Labels are what the program knows; nothing of what clients send becomes one.
"""

import hmac
import os
import queue
import re
import threading
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

import structlog
from flask import Flask, Response, g, request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from chatbot.dullness import is_dull
from chatbot.reply import Reply, ReplyRequest
from web.conversations import Engine, Ticket
from web.protocol import ProtocolError

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
WRONG_TOKENS = RateLimitItemPerMinute(10)  # of one address
LOOK_SECONDS = 5.0  # which checkpoint answers
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SILENT = re.compile(r"[\W_]+")

log = structlog.get_logger()


class Metrics:
    """The figures of one worker. Safe to share between threads."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._wrong = MovingWindowRateLimiter(MemoryStorage())

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"chatbot_{name}", what, labels, registry=registry)

        def seconds(name: str, what: str, *labels: str) -> Histogram:
            return Histogram(f"chatbot_{name}_seconds", what, labels, registry=registry, buckets=SECONDS)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"chatbot_{name}", what, labels, registry=registry, multiprocess_mode="livesum")

        self.events = counter("events", "Socket.IO events by outcome: ok or an error's code", "event", "code")
        self.event_seconds = seconds("event", "From an event's arrival to its acknowledgement", "event")
        self.requests = counter("http_requests", "HTTP requests", "route", "status")
        self.request_seconds = seconds("http_request", "From a request to the headers of its answer", "route")
        self.connections = gauge("connections", "Open connections")
        self.under_way = gauge("replies_under_way", "Replies with the engine: being written, or waiting for a place")
        self.replies = counter("replies", "Replies that ended", "status", "checkpoint")
        self.reply_words = counter("reply_words", "Words of replies")
        self.first_words_seconds = seconds("first_words", "From the engine's being asked to a reply's first words")
        self.reply_seconds = seconds("reply", "From the engine's being asked to a reply's end")
        self.waited_seconds = seconds("waited", "From the engine's being asked to a reply's place in its batch")
        self.batch = Histogram(
            "chatbot_batch_replies", "Replies written at once, by each of them", registry=registry, buckets=BATCHES
        )
        self.dull = counter("replies_dull", "Replies with a phrase that says nothing")
        self.repeated = counter("replies_repeated", "Replies in the words of one of the twenty turns before")
        self.retrieved = counter("replies_retrieved", "Replies given word for word from a corpus")
        self.guarded = counter("replies_guarded", "Fixed answers, by what was said", "category")
        self.checkpoint = gauge("checkpoint_workers", "Workers that answer with a checkpoint", "checkpoint")

    def count_event(self, event: str, code: str, seconds: float) -> None:
        self.events.labels(event, code).inc()
        self.event_seconds.labels(event).observe(seconds)

    def count_reply(self, asked: "Asked", reply: Reply, seconds: float) -> None:
        said = _heard(reply.text)
        self.under_way.dec()
        self.replies.labels(reply.status, reply.checkpoint).inc()
        self.reply_seconds.observe(seconds)
        if asked.first_words is not None:
            self.first_words_seconds.observe(asked.first_words)
        self.waited_seconds.observe(reply.waited)
        self.batch.observe(reply.batch)
        if reply.guarded:  # it tells nothing of how the checkpoint writes
            return self.guarded.labels(reply.guarded).inc()
        self.reply_words.inc(len(reply.text.split()))
        self.dull.inc(is_dull(reply.text))
        self.repeated.inc(bool(said) and said in map(_heard, asked.request.context))
        self.retrieved.inc(reply.is_retrieved)

    def register(self, app: Flask, token: str) -> None:
        """Count the app's requests, and serve the figures to whoever holds the operator's `token`."""

        def begin() -> None:
            g.began = time.perf_counter()

        def metrics() -> Response:
            self._require(token)
            return Response(self.text(), content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})

        app.before_request(begin)
        app.after_request(self._count_request)
        app.add_url_rule("/metrics", "metrics", metrics)

    def _count_request(self, response: Response) -> Response:
        route = f"{request.method} {request.url_rule.rule}" if request.url_rule else "none"
        self.requests.labels(route, response.status_code).inc()
        self.request_seconds.labels(route).observe(time.perf_counter() - g.began)
        return response

    def _require(self, token: str) -> None:
        address = request.remote_addr or ""
        if not self._wrong.test(WRONG_TOKENS, address):
            raise ProtocolError("rate_limited", "Too many wrong tokens; wait a minute.", 60_000)
        given = request.authorization.token if request.authorization else None
        if not hmac.compare_digest((given or "").encode(errors="replace"), token.encode()):
            self._wrong.hit(WRONG_TOKENS, address)
            raise ProtocolError("unauthenticated", "Send the operator's token: Authorization: Bearer <token>.")

    def text(self) -> bytes:
        """All workers' figures, in the format that Prometheus reads."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        everybodys = CollectorRegistry()
        MultiProcessCollector(everybodys)
        return generate_latest(everybodys)


@dataclass(slots=True)
class Asked:
    """A reply that the engine was asked for, and who by: `context` holds the request's id."""

    request: ReplyRequest
    context: Context = field(default_factory=copy_context)
    began: float = field(default_factory=time.perf_counter)
    first_words: float | None = None  # seconds after that


class MeasuredEngine:
    """An engine whose replies are counted, timed and logged, by a thread of its own: the engine's has to decode."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine, self._metrics = engine, metrics
        self._ended: queue.SimpleQueue[tuple[Asked, Reply, float] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._measure, name="measure-replies", daemon=True)
        self._answering = ""

    @property
    def checkpoint(self) -> Any:
        return self._engine.checkpoint

    @property
    def is_running(self) -> bool:
        return self._engine.is_running

    def start(self) -> None:
        self._engine.start()
        self._look()
        self._thread.start()

    def close(self, drain_seconds: float = 0) -> None:
        self._engine.close(drain_seconds)
        self._ended.put(None)

    def submit(
        self, request: ReplyRequest, on_delta: Callable[[str], None], on_finished: Callable[[Reply], None]
    ) -> Ticket:
        if request.is_trial:
            return self._engine.submit(request, on_delta, on_finished)
        asked = Asked(request)

        def say(text: str) -> None:
            if asked.first_words is None:
                asked.first_words = time.perf_counter() - asked.began
            on_delta(text)

        def finish(reply: Reply) -> None:
            try:
                asked.context.run(on_finished, reply)
            finally:
                self._ended.put((asked, reply, time.perf_counter() - asked.began))

        self._metrics.under_way.inc()
        try:
            return self._engine.submit(request, say, finish)
        except BaseException:
            self._metrics.under_way.dec()
            raise

    def before(self, request: ReplyRequest) -> Reply | None:
        return self._engine.before(request)

    def _measure(self) -> None:
        while True:
            try:
                ended = self._ended.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                self._look()
                continue
            if ended is None:
                return
            asked, reply, seconds = ended
            self._metrics.count_reply(asked, reply, seconds)
            asked.context.run(_log, asked, reply, seconds)

    def _look(self) -> None:
        """Say which checkpoint answers now."""
        checkpoint = self._engine.checkpoint.id
        if checkpoint != self._answering:
            if self._answering:
                self._metrics.checkpoint.labels(self._answering).set(0)
            self._metrics.checkpoint.labels(checkpoint).set(1)
            self._answering = checkpoint


def _heard(text: str) -> str:
    """A text without case and punctuation; cheap, for a reply is compared with twenty turns."""
    return _SILENT.sub(" ", text.lower()).strip()


def _log(asked: Asked, reply: Reply, seconds: float) -> None:
    first_ms = None if asked.first_words is None else round(asked.first_words * 1000)
    log.info(
        "reply ended", status=reply.status, checkpoint=reply.checkpoint, first_ms=first_ms, ms=round(seconds * 1000)
    )
