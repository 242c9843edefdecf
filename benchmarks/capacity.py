"""How many conversations a process holds, how many processes some millions of them need, and what breaks first.

    python benchmarks/capacity.py --alone-ms MS --full-ms MS --front-ms MS --stored-a-second N [--think-s S] ...
    python benchmarks/capacity.py --alone-ms MS --full-ms MS --front-ms MS --database URL [--think-s S] ...

The figures of one process are measured elsewhere and given (docs/operating.md says how); what the database stores is
measured here where the URL of an empty one is given instead. A process is simulated reply by reply: conversations that
think for an exponentially distributed time, the web side that takes one message at a time, and the engine that decodes
up to --batch replies at once, each the slower the more there are. Processes share nothing but the database; so as many
as are needed are copies of that one, and the database they share is a queue of its own.
"""

import heapq
import math
import multiprocessing
import os
import time
import uuid
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import click
import numpy as np

from chatbot.history import FinishedReply, History, open_history
from web.config import Settings

POPULATIONS = (10**4, 10**6)
DRIVERS = 20  # connections that a process makes to the database at most (chatbot.history)
WARM_UP = 0.2  # of the simulated time, not counted
STATE = 4 * 512  # bytes of a dialogue state


@dataclass(frozen=True, slots=True)
class Process:
    """One process; times in seconds. `alone` and `full` are a reply's in a batch of one and in a full batch."""

    alone: float
    full: float
    front: float
    batch: int
    replies: int
    connections: int

    def seconds(self, together: int) -> float:
        return self.alone + (self.full - self.alone) * (together - 1) / max(1, self.batch - 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Messages a second, the 95th percentile of the seconds from a message to its reply's end, the share refused."""

    rate: float
    p95: float
    refused: float


class Run:
    """One process with some conversations for some time.

    The engine's progress is one number, `done`, that grows by 1 while a reply of mean length is decoded: a reply that
    came in at `done` = d and has length w ends at d + w, however many join and leave meanwhile.
    """

    def __init__(self, process: Process, conversations: int, think: float, seed: int) -> None:
        self.process, self.think = process, think
        self.random = np.random.default_rng(seed)
        self.arrivals = [(self.random.exponential(think), place) for place in range(conversations)]
        heapq.heapify(self.arrivals)
        self.decoding: list[tuple[float, float]] = []  # (done at the end, second of the message)
        self.waiting: deque[tuple[float, float]] = deque()  # (second at which the web side is through, of the message)
        self.now = self.done = self.front_free = 0.0

    def outcome(self, seconds: float) -> Outcome:
        waits, sent, refused = [], 0, 0
        while self.now < seconds:
            message, entry, end = self._next()
            self._go_to(min(message, entry, end))
            counts = self.now > WARM_UP * seconds
            if end <= min(message, entry):
                since = heapq.heappop(self.decoding)[1]
                waits += [self.now - since] if counts else []
                self._think()
            elif entry <= message:
                _, since = self.waiting.popleft()
                heapq.heappush(self.decoding, (self.done + self.random.gamma(4, 1 / 4), since))
            else:
                was_refused = self._send()
                sent, refused = sent + counts, refused + (counts and was_refused)
        span = (1 - WARM_UP) * seconds
        return Outcome(sent / span, float(np.quantile(waits, 0.95)) if waits else math.inf, refused / max(1, sent))

    def _next(self) -> tuple[float, float, float]:
        """When the next message comes, the next one enters the batch, and the next reply ends."""
        message = self.arrivals[0][0] if self.arrivals else math.inf
        room = len(self.decoding) < self.process.batch
        entry = max(self.now, self.waiting[0][0]) if self.waiting and room else math.inf
        if not self.decoding:
            return message, entry, math.inf
        left = self.decoding[0][0] - self.done
        return message, entry, self.now + left * self.process.seconds(len(self.decoding))

    def _go_to(self, second: float) -> None:
        if self.decoding:
            self.done += (second - self.now) / self.process.seconds(len(self.decoding))
        self.now = second

    def _send(self) -> bool:
        """A message comes in -> whether it was refused as too many."""
        heapq.heappop(self.arrivals)
        if len(self.waiting) + len(self.decoding) >= self.process.replies:
            self._think()
            return True
        self.front_free = max(self.front_free, self.now) + self.process.front
        self.waiting.append((self.front_free, self.now))
        return False

    def _think(self) -> None:
        heapq.heappush(self.arrivals, (self.now + self.random.exponential(self.think), 0))


def database_wait(rate: float, stored_a_second: float) -> float:
    """Mean seconds in an M/D/1 queue, service included; infinite where more comes in than is stored."""
    load = rate / stored_a_second
    return math.inf if load >= 1 else (1 + load / (2 * (1 - load))) / stored_a_second


def stored_a_second(url: str, seconds: float, people: int = 32) -> float:
    """Messages with their replies' ends that a process on each processor stores, each of `people` in a conversation.

    They take the same processors as the database does, if that is on this machine: it may do better.
    """
    open_history(url).engine.dispose()
    processes = os.cpu_count() or 1
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return sum(pool.map(partial(_store, url, seconds), [max(1, people // processes)] * processes)) / seconds


def _store(url: str, seconds: float, people: int) -> int:
    history = open_history(url)
    with ThreadPoolExecutor(people) as pool:
        stored = sum(pool.map(lambda _: _converse(history, seconds), range(people)))
    history.engine.dispose()
    return stored


def _converse(history: History, seconds: float) -> int:
    user, _ = history.add_user()
    conversation, stored = history.create_conversation(user, "A title").id, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        accepted = history.add_message(user, conversation, str(uuid.uuid4()), "What did you do all day long?")
        reply = FinishedReply("I was at home with my family.", "completed", "one", bytes(STATE), bytes(STATE))
        history.finish_reply(conversation, accepted.reply_id, reply)
        stored += 1
    return stored


def most(process: Process, think: float, seconds: float, limit: float) -> tuple[int, Outcome, str]:
    """-> how many conversations one process holds within its limits, how it then does, and which limit comes next."""

    def holds(count: int) -> bool:
        found = Run(process, count, think, seed=count).outcome(seconds)
        return found.p95 <= limit and found.refused == 0

    low, high = 0, process.connections
    if holds(high):
        return high, Run(process, high, think, seed=high).outcome(seconds), "connections (each keeps a thread)"
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    beyond = Run(process, high, think, seed=high).outcome(seconds)
    slower = "the web side" if process.front > process.full / process.batch else "the engine"
    what = "replies under way" if beyond.refused else f"{slower}: the 95th percentile"
    return low, Run(process, max(1, low), think, seed=low).outcome(seconds), what


@click.command()
@click.option("--alone-ms", type=float, required=True, help="A reply's time in the engine, alone.")
@click.option("--full-ms", type=float, required=True, help="A reply's time in the engine, in a full batch.")
@click.option(
    "--front-ms", type=float, required=True, help="Processor time of a message and its reply, without the engine."
)
@click.option("--stored-a-second", "stored", type=float, help="Messages with their replies that the database stores.")
@click.option("--database", help="An empty one that is asked how many it stores, where that is not given.")
@click.option("--batch", default=64, show_default=True, help="Replies that the engine decodes at once.")
@click.option("--think-s", default=30.0, show_default=True, help="Mean seconds between a reply and the next message.")
@click.option(
    "--limit-s", default=1.5, show_default=True, help="The 95th percentile of a whole reply that is good enough."
)
@click.option("--minutes", default=10.0, show_default=True, help="Simulated time.")
@click.option("--database-connections", default=100, show_default=True, help="What the database server lets in.")
def main(
    alone_ms: float,
    full_ms: float,
    front_ms: float,
    stored: float | None,
    database: str | None,
    batch: int,
    think_s: float,
    limit_s: float,
    minutes: float,
    database_connections: int,
) -> None:
    """Simulate 10^4 and 10^6 concurrent conversations, and say what breaks first."""
    if stored is None:
        if not database:
            raise click.UsageError("Give --stored-a-second or --database.")
        stored = stored_a_second(database, seconds=20)
        click.echo(f"The database stores {stored:.0f} messages a second with their replies.")
    settings = Settings()
    process = Process(alone_ms / 1000, full_ms / 1000, front_ms / 1000, batch, settings.replies, settings.connections)
    held, outcome, what = most(process, think_s, 60 * minutes, limit_s)
    figures = f"{held} conversations, {outcome.rate:.1f} messages/s, p95 {outcome.p95:.2f} s"
    click.echo(f"One process: {figures}. Next limit: {what}.")
    if not held:
        return
    for population in POPULATIONS:
        processes = math.ceil(population / held)
        rate = outcome.rate * population / held
        wait = database_wait(rate, stored)
        click.echo(f"\n{population:,} conversations: {processes:,} processes, {rate:,.0f} messages/s")
        click.echo(f"  database: {rate / stored:.0%} of what it stores, {_shown(wait)}")
        click.echo(f"  its connections: up to {DRIVERS * processes:,} of {database_connections:,}")
        broken = [] if wait < math.inf else ["the database's writes"]
        broken += (
            ["the database's connections (put a pooler before it)"]
            if DRIVERS * processes > database_connections
            else []
        )
        click.echo(f"  breaks first: {', then '.join(broken) or f'nothing shared; in each process {what}'}")


def _shown(wait: float) -> str:
    return "and never catches up" if math.isinf(wait) else f"{1000 * wait:.1f} ms a message"


if __name__ == "__main__":
    main()
