"""People who go on talking whatever happens to their connections, and check all that arrives."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import websocket
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chatbot.history import History, Turn, open_history
from tests.clients import Refused, WireClient

LOST = (OSError, websocket.WebSocketException, Refused)
AGAIN = {"busy", "overloaded", "draining", "internal"}  # refusals after which a client sends the same once more
PATIENCE = 60  # seconds in which every reply has to end
# A server without the limits that a crowd from one address would meet.
UNLIMITED = {
    "CHATBOT_MESSAGES_PER_MINUTE": "1000000",
    "CHATBOT_CONNECTS_PER_MINUTE": "1000000",
    "CHATBOT_TOKENS_PER_MINUTE": "1000000000",
    "CHATBOT_REPLIES": "1000",
}


class Talker:
    """One person with one conversation, and a client as it should be: it resumes, sends again, asks for what it misses.

    `acknowledged` is what was said, `events` what arrived, by seq, `order` the seqs as they arrived, `refusals` the
    codes of messages that were to come again, `losses` how often the connection was lost.
    """

    def __init__(self, url: str, name: str = "somebody", silence: float = 5, echo: bool = True) -> None:
        """It asks for news after `silence` seconds without any. Without `echo`, replies may be of any words."""
        self.url, self.name, self.silence, self.echo = url, name, silence, echo
        self.acknowledged: list[str] = []
        self.events: dict[int, dict[str, Any]] = {}
        self.order: list[int] = []
        self.refusals: Counter[str] = Counter()
        self.losses = 0
        self.user = self.token = self.conversation = ""
        self._key, self._text, self._reply = "", "", ""

    def connect(self) -> WireClient:
        """Come for the first time, or come back for what was missed."""
        if self.conversation:
            resume = [{"conversation_id": self.conversation, "after_seq": self._complete_to()}]
            return WireClient(self.url, self.silence, token=self.token, resume=resume)
        client = WireClient(self.url, self.silence, **({"token": self.token} if self.token else {}))
        self.token, self.user = self.token or client.token, client.ready["user_id"]
        answer = client.call("conversation.create")
        self.conversation = answer.get("conversation_id", "")
        if not answer["ok"]:
            raise ConnectionError(answer["error"]["message"])
        return client

    def talk(self, enough: threading.Event, turns: int = 10**9, pause: float = 0.0) -> None:
        """Turn after turn, through every loss, until it is enough; what was begun is brought to its end."""
        while self._key or not (enough.is_set() or len(self.acknowledged) >= turns):
            try:
                with self.connect() as client:
                    while self._key or not (enough.is_set() or len(self.acknowledged) >= turns):
                        self.turn(client)
                        time.sleep(pause)
            except LOST:
                self.losses += 1
                time.sleep(0.05)

    def turn(self, client: WireClient) -> None:
        """Say something, or what was not acknowledged yet, and hear the reply."""
        if not self._key:
            self._key, self._text = str(uuid.uuid4()), f"{self.name} says {len(self.acknowledged)} {uuid.uuid4().hex}"
        if not self._reply and not self._send(client):
            return
        reply = self._hear(client)
        assert reply["status"] == "completed", reply
        assert reply["text"] == f"You said: {self._text}" or not self.echo, (reply, self._text)
        self._key = self._reply = ""

    def _send(self, client: WireClient) -> bool:
        answer = client.send(self.conversation, self._text, self._key)
        if answer["ok"]:
            self.acknowledged.append(self._text)
            self._reply = answer["reply_id"]
            return True
        self.refusals[answer["error"]["code"]] += 1
        assert self.refusals.keys() <= AGAIN, answer
        time.sleep(0.1)
        return False

    def _hear(self, client: WireClient) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while True:
            self._take(client)
            for event in self.events.values():
                if event["type"] == "reply.completed" and event["data"]["reply_id"] == self._reply:
                    return dict(event["data"])
            assert time.monotonic() < deadline, f"The reply to {self.name} does not end."
            try:
                client.completed(self._reply)
            except websocket.WebSocketTimeoutException:
                self.sync(client)

    def sync(self, client: WireClient) -> None:
        """Ask for what may have been missed."""
        answer = {"more": True}
        while answer.get("more"):
            answer = client.call("sync", conversation_id=self.conversation, after_seq=self._complete_to())
            for event in answer.get("events", []):
                self._keep(event)

    def _complete_to(self) -> int:
        return next(seq for seq in range(len(self.events) + 1) if seq + 1 not in self.events)

    def _take(self, client: WireClient) -> None:
        """Check what has arrived: it is of this conversation, and tells nothing else than before."""
        for name, data in client.received:
            if name == "event":
                self._keep(data)
            elif name == "reply.delta":
                assert data["conversation_id"] == self.conversation, data
            elif name == "notice" and "conversation" in data:
                assert data["conversation"]["conversation_id"] == self.conversation, data
        client.received.clear()

    def _keep(self, event: dict[str, Any]) -> None:
        assert event["conversation_id"] == self.conversation, event
        assert self.events.setdefault(event["seq"], event) == event
        self.order.append(event["seq"])


@contextmanager
def talking(talkers: Sequence[Talker], pause: float = 0.0) -> Iterator[None]:
    """All of them talk meanwhile; at the end what any of them found wrong is raised."""
    enough = threading.Event()
    with ThreadPoolExecutor(len(talkers)) as pool:
        futures = [pool.submit(talker.talk, enough, pause=pause) for talker in talkers]
        try:
            yield
        finally:
            enough.set()
        for future in futures:
            future.result()


def wait_until_all_go_on(talkers: Sequence[Talker], turns: int = 1, seconds: float = PATIENCE) -> None:
    """Until each of them has had more messages acknowledged."""
    wanted = [len(talker.acknowledged) + turns for talker in talkers]
    deadline = time.monotonic() + seconds
    while any(len(talker.acknowledged) < many for talker, many in zip(talkers, wanted, strict=True)):
        assert time.monotonic() < deadline, "Somebody is not answered any more."
        time.sleep(0.01)


def assert_kept(database: str, talkers: Sequence[Talker]) -> int:
    """All that was acknowledged is stored once and answered, all that arrived is what is stored -> messages."""
    history = open_history(database)
    for talker in talkers:
        _assert_conversation_kept(history, talker)
    history.engine.dispose()
    return sum(len(talker.acknowledged) for talker in talkers)


def _assert_conversation_kept(history: History, talker: Talker) -> None:
    turns = history.active_branch(talker.conversation)
    assert [turn.text for turn in turns if turn.speaker == "user"] == talker.acknowledged
    assert {turn.status for turn in turns} <= {"completed"}
    if talker.echo:
        replies = [turn.text for turn in turns if turn.speaker == "bot"]
        assert replies == [f"You said: {text}" for text in talker.acknowledged]
    with Session(history.engine) as session:
        rows = select(func.count()).where(Turn.conversation_id == talker.conversation)
        assert session.scalar(rows) == len(turns) == 2 * len(talker.acknowledged)
    events, _ = history.events_after(talker.user, talker.conversation, 0, 10**6)
    assert [event.seq for event in events] == list(range(1, 3 * len(talker.acknowledged) + 1))
    stored = {event.seq: event.payload() for event in events}
    assert talker.events.items() <= stored.items()
