"""Many at once: none is lost, disordered or crossed, and what is sent a hundred times is said once."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chatbot.history import open_history
from tests.clients import ServerProcess, WireClient
from tests.faults.talker import UNLIMITED, Talker, assert_kept

Record = Callable[..., None]
StartServer = Callable[..., ServerProcess]


def crowd(url: str, people: int, turns: int) -> list[Talker]:
    """Everybody comes, and once all are there each has so many turns; nobody may be thrown out."""
    talkers = [Talker(url, f"person {number}", silence=60) for number in range(people)]
    all_here = threading.Barrier(people)

    def take_part(talker: Talker) -> None:
        with talker.connect() as client:
            all_here.wait(120)
            for _ in range(turns):
                talker.turn(client)
                assert not talker.refusals, talker.refusals

    with ThreadPoolExecutor(people) as pool:
        list(pool.map(take_part, talkers))
    return talkers


def assert_nothing_lost_disordered_or_crossed(database: str, talkers: list[Talker], turns: int) -> int:
    for talker in talkers:
        assert talker.order == list(range(1, 3 * turns + 1))
    return assert_kept(database, talkers)


def test_300_conversations_on_one_worker(start_server: StartServer, database: str, record: Record) -> None:
    server = start_server(database, delay=0.01, **UNLIMITED)
    talkers = crowd(server.url, 300, 10)
    record(conversations=300, messages=assert_nothing_lost_disordered_or_crossed(database, talkers, 10))
    assert server.terminate() == 0


def test_800_conversations_on_four_workers(start_server: StartServer, database: str, record: Record) -> None:
    server = start_server(database, delay=0.01, CHATBOT_WORKERS="4", **UNLIMITED)
    talkers = crowd(server.url, 800, 5)
    record(conversations=800, messages=assert_nothing_lost_disordered_or_crossed(database, talkers, 5))
    assert server.terminate() == 0


def send_over_and_over(server: ServerProcess, clients: int, times: int) -> tuple[str, list[dict[str, Any]]]:
    """One message, sent so many times by each of a user's clients at once -> its conversation and all answers."""
    with WireClient(server.url) as first:
        conversation, key = first.create(), str(uuid.uuid4())

        def send(_: int) -> list[dict[str, Any]]:
            with WireClient(server.url, token=first.token) as client:
                return [client.send(conversation, "Once", key) for _ in range(times)]

        with ThreadPoolExecutor(clients) as pool:
            answers = [answer for answers in pool.map(send, range(clients)) for answer in answers]
        first.completed(answers[0]["reply_id"])
    return conversation, answers


def test_a_message_sent_100_times_over_four_workers_is_one(
    start_server: StartServer, database: str, record: Record
) -> None:
    server = start_server(database, CHATBOT_WORKERS="4", CHATBOT_CONNECTIONS_PER_USER="100", **UNLIMITED)
    conversation, answers = send_over_and_over(server, clients=20, times=5)
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 99
    assert len({(answer["message_id"], answer["reply_id"], answer["seq"]) for answer in answers}) == 1
    history = open_history(database)
    assert [turn.text for turn in history.active_branch(conversation)] == ["Once", "You said: Once"]
    history.engine.dispose()
    record(sent=len(answers), rows=1)
