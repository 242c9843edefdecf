"""A client that leaves and comes back at random, compared with a model of its conversation."""

import json
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.clients import ServerProcess, WireClient
from tests.faults.talker import UNLIMITED

Record = Callable[..., None]
StartServer = Callable[..., ServerProcess]


class Conversation(RuleBasedStateMachine):
    """The model: `said` are the texts acknowledged, `kept` a message sent whose acknowledgement was not awaited."""

    url: ClassVar[str]
    counted: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.client: WireClient | None = WireClient(self.url)
        self.token, self.conversation = self.client.token, self.client.create()
        self.said: list[str] = []
        self.kept: tuple[str, str] | None = None
        self.reply = ""
        self.seen: dict[int, dict[str, Any]] = {}

    @rule(words=st.integers(1, 12), is_patient=st.booleans())
    @precondition(lambda self: self.client and not self.kept)
    def send(self, words: int, is_patient: bool) -> None:
        self._end_reply()
        self.kept = (str(uuid.uuid4()), f"{len(self.said)} " + "word " * words)
        self._acknowledge()
        if is_patient:
            self._end_reply()

    @rule(words=st.integers(1, 12))
    @precondition(lambda self: self.client and not self.kept)
    def send_and_leave(self, words: int) -> None:
        """Whether it arrives nobody knows; it has to be sent again."""
        self._end_reply()
        self.kept = (str(uuid.uuid4()), f"{len(self.said)} " + "word " * words)
        message = dict(zip(("client_msg_id", "text"), self.kept, strict=True)) | {"conversation_id": self.conversation}
        self.client.send_frame("421" + json.dumps(["message.send", message]))
        self.leave(is_polite=False)

    @rule(is_polite=st.booleans())
    @precondition(lambda self: self.client)
    def leave(self, is_polite: bool) -> None:
        self._look()
        if is_polite:
            self.client.send_frame("41")
            self.client.close()
        else:
            self.client._socket.shutdown()  # without a goodbye
        self.client = None
        self.counted["disconnects"] += 1

    @rule()
    @precondition(lambda self: not self.client)
    def come_back(self) -> None:
        place = {"conversation_id": self.conversation, "after_seq": self._complete_to()}
        self.client = WireClient(self.url, token=self.token, resume=[place])
        if self.kept:
            self._acknowledge()

    @rule(back=st.integers(0, 20), limit=st.integers(1, 10))
    @precondition(lambda self: self.client)
    def sync(self, back: int, limit: int) -> None:
        self._look()
        after = max(0, self._complete_to() - back)
        page = self.client.call("sync", conversation_id=self.conversation, after_seq=after, limit=limit)
        seqs = [event["seq"] for event in page["events"]]
        assert seqs == list(range(after + 1, after + 1 + len(seqs)))
        assert len(seqs) == limit or not page["more"]
        for event in page["events"]:
            self._keep(event)
        self.counted["syncs"] += 1

    def teardown(self) -> None:
        if not self.client:
            self.come_back()
        self._end_reply()
        events = self.client.call("sync", conversation_id=self.conversation)["events"]
        more = events
        while more:
            more = self.client.call("sync", conversation_id=self.conversation, after_seq=events[-1]["seq"])["events"]
            events = events + more
        self._compare(events)
        self.client.close()
        self.counted["messages"] += len(self.said)

    def _compare(self, events: list[dict[str, Any]]) -> None:
        assert [event["seq"] for event in events] == list(range(1, 3 * len(self.said) + 1))
        for number, text in enumerate(self.said):
            created, started, completed = events[3 * number : 3 * number + 3]
            assert [created["type"], started["type"], completed["type"]] == [
                "message.created",
                "reply.started",
                "reply.completed",
            ]
            assert (created["data"]["text"], completed["data"]["text"]) == (text, f"You said: {text}")
        for event in events:
            assert self.seen.get(event["seq"], event) == event

    def _acknowledge(self) -> None:
        key, text = self.kept
        answer = self.client.send(self.conversation, text, key)
        assert answer["ok"], answer
        self.counted["duplicates"] += answer["duplicate"]
        self.said.append(text)
        self.reply, self.kept = answer["reply_id"], None

    def _end_reply(self) -> None:
        """Wait for the end of the last reply, which may have come while the client was away."""
        self._look()
        if self.reply not in {event["data"].get("reply_id") for event in self.seen.values() if _is_end(event)}:
            if self.reply:
                self.client.completed(self.reply)
            self._look()
        self.reply = ""

    def _look(self) -> None:
        for name, event in self.client.received:
            if name == "event":
                self._keep(event)
        self.client.received.clear()

    def _keep(self, event: dict[str, Any]) -> None:
        assert self.seen.setdefault(event["seq"], event) == event

    def _complete_to(self) -> int:
        return next(seq for seq in range(len(self.seen) + 1) if seq + 1 not in self.seen)


def _is_end(event: dict[str, Any]) -> bool:
    return event["type"] == "reply.completed"


def disconnected(url: str, lives: int) -> Counter[str]:
    """So many conversations of up to 50 steps -> what was done in them."""
    Conversation.url, Conversation.counted = url, Counter()
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    thorough = settings(max_examples=lives, stateful_step_count=50, deadline=None, derandomize=True, database=None,
                        phases=[Phase.generate], suppress_health_check=checks)  # fmt: skip
    run_state_machine_as_test(Conversation, settings=thorough)
    return Conversation.counted


def test_1000_random_disconnects(start_server: StartServer, database: str, record: Record) -> None:
    server = start_server(database, 0.01, **UNLIMITED)
    counted = disconnected(server.url, 100)
    record(**counted)
    assert counted["disconnects"] >= 1000
    assert server.terminate() == 0
