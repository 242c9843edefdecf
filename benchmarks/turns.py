"""What a reply at turn 1,000 costs beside one at turn 1, in one run: `python benchmarks/turns.py [CHECKPOINT]`.

One client of this machine talks with a real server over a websocket (its limits lifted, its history in SQLite), in a
conversation of 1,000 turns and in one that begins, again and again; which of the two comes first is drawn each time.
Replies are decoded greedily and have 20 tokens. Ratios are those of the pairs, with the interval in which their median
lies at 95 % (bootstrap), so whatever else the machine does meets both. The long conversation was laid into the database
but for its last turns. A minute or two.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import service  # beside this file

from chatbot.history import FinishedReply, History, open_history

TURNS, PAUSE = 1_000, 0.05


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds from a message to the first words of its reply and to its end; of the server's processors, for both."""

    first: float
    whole: float
    processor: float


@click.command()
@click.argument("checkpoint", default="default")
@click.option("--pairs", default=300, show_default=True, help="How often both are measured.")
@click.option("--early", default=1, show_default=True, help="The turn of a new conversation that is compared.")
def main(checkpoint: str, pairs: int, early: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, service.__file__, checkpoint, "--serve", "greedy"]
        environment = os.environ | {"CHATBOT_HOME": home, "PYTHONPATH": str(Path(__file__).parent.parent)}
        server = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert server.stdout is not None
            talker = Talker(server.stdout.readline().split()[2], service.descendants(server.pid))
            costs = talker.measure(open_history(f"sqlite:///{home}/chatbot.db", create=False), pairs, early)
        finally:
            server.terminate()
            server.wait()
    print(f"{pairs} pairs: turns {TURNS:,} to {TURNS + pairs - 1:,} of one conversation, and turn {early} of as many")
    for name in ("first", "whole", "processor"):
        soon, late = (1000 * np.array([getattr(cost, name) for cost in kind]) for kind in costs)
        low, ratio, high = ratio_of(soon, late)
        medians = f"{np.median(soon):6.1f} ms at turn {early}, {np.median(late):6.1f} ms at turn {TURNS:,}"
        print(f"{name:>10}: {medians}: {ratio:.3f} x ({low:.3f} to {high:.3f})")


class Talker:
    """One user, and the processor time of the server's worker and its engine."""

    def __init__(self, url: str, processes: list[int]) -> None:
        self.client = service.Client(url)
        self._clocks = [(~process << 3) | 2 for process in processes]  # as clock_getcpuclockid(3) makes them

    def measure(self, history: History, pairs: int, early: int) -> tuple[list[Cost], list[Cost]]:
        """Of the early turns, and of the late ones."""
        long = self.client.conversation
        self.say(long, 0)
        lay(history, long, TURNS - 5)
        for seed in range(1, 4):  # the first of these reads the turns that were laid, which have no states of their own
            self.say(long, seed)
        soon, late = [], []
        for seed in range(pairs):
            kinds = [(self.create(early - 1), soon), (long, late)]
            for conversation, costs in random.Random(seed).sample(kinds, 2):
                costs.append(self.say(conversation, seed))
        return soon, late

    def create(self, turns: int) -> str:
        """A conversation that had so many, with a title, which the first message would otherwise become."""
        self.client.socket.send('421["conversation.create",{"title":"One"}]')
        conversation = str(self.client.until("431[")[0]["conversation_id"])
        for seed in range(turns):
            self.say(conversation, seed)
        return conversation

    def say(self, conversation: str, seed: int) -> Cost:
        time.sleep(PAUSE)
        said = {"conversation_id": conversation, "client_msg_id": str(uuid.uuid4()), "text": service.sentence(8, seed)}
        used, begin = self._used(), time.perf_counter()
        self.client.socket.send("42" + json.dumps(["message.send", said]))
        self.client.until("reply.delta")
        first = time.perf_counter() - begin
        self.client.until("reply.completed")
        whole = time.perf_counter() - begin
        time.sleep(PAUSE)  # what is left to do counts too
        return Cost(first, whole, self._used() - used)

    def _used(self) -> float:
        return sum(map(time.clock_gettime, self._clocks))


def lay(history: History, conversation: str, turns: int) -> None:
    """So many turns more, an utterance and its reply each, with states of the size that they have."""
    [user] = {one.user_id for one in history.conversations()}
    state = history.path(user, conversation)[-1].state
    for number in range(turns):
        accepted = history.add_message(user, conversation, str(uuid.uuid4()), service.sentence(8, -number))
        reply = FinishedReply(service.sentence(15, number), "completed", state.checkpoint, state.vector, state.vector)
        history.finish_reply(conversation, accepted.reply_id, reply)


def ratio_of(soon: Any, late: Any) -> tuple[float, float, float]:
    """The median of the pairs' ratios, between the ends of its 95 % interval."""
    ratios = late / soon
    drawn = np.random.default_rng(0).choice(ratios, (2_000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(low), float(np.median(ratios)), float(high)


if __name__ == "__main__":
    main()
