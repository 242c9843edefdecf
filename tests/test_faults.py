"""The short form of tests/faults: each attack once or a few times, so that the ordinary run notices what breaks."""

from collections.abc import Callable
from pathlib import Path

from tests.clients import ServerProcess
from tests.faults.talker import UNLIMITED, Talker, assert_kept, talking, wait_until_all_go_on
from tests.faults.test_crowds import assert_nothing_lost_disordered_or_crossed, crowd
from tests.faults.test_disconnects import disconnected
from tests.faults.test_floods import SLOW, flood
from tests.faults.test_frames import attacked
from tests.faults.test_kills import postgresql_killed
from tests.postgres import Postgres

StartServer = Callable[..., ServerProcess]


def test_a_crowd_on_two_workers_loses_nothing(start_server: StartServer, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    server = start_server(database, CHATBOT_WORKERS="2", **UNLIMITED)
    talkers = crowd(server.url, 20, 2)
    assert_nothing_lost_disordered_or_crossed(database, talkers, 2)


def test_postgresql_killed_under_load_loses_nothing(start_server: StartServer) -> None:
    with Postgres() as postgres:
        postgresql_killed(start_server, postgres, 1)


def test_random_disconnects_lose_nothing(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db", 0.01, **UNLIMITED)
    assert disconnected(server.url, 1)["disconnects"] > 10


def test_malformed_frames_harm_nobody_else(start_server: StartServer, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    server = start_server(database, CHATBOT_CONNECTIONS="20", **UNLIMITED)
    _, talker = attacked(server, 1_000)  # over more lines than that: those that end are free again
    assert assert_kept(database, [talker])


def test_a_flood_keeps_nobody_out(start_server: StartServer, tmp_path: Path) -> None:
    """More of them than there are threads; those who talk go on, and a newcomer is let in."""
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db", CHATBOT_CONNECTIONS="20", **UNLIMITED)
    lines = flood(server, SLOW["a line that nobody is on"], 100)
    newcomer = Talker(server.url, silence=30)
    with talking([newcomer]):
        wait_until_all_go_on([newcomer])
    for line in lines:
        line.close()
