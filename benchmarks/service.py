"""What a server answers over websockets, beside two peers, in one run: `python benchmarks/service.py [CHECKPOINT]`.

64 clients of this machine hold conversations with a real server (its limits lifted, its history in SQLite): replies of
20 tokens decoded greedily, then as in chat, chosen among 10 candidates. Once they answer at once, which shows how many
replies it gives, and once after a second or so, which shows how long a reply takes that does not queue. The peers
answer without any server between:

- a transformer of GPT-2 small's shape (that of DialoGPT-small; random weights, which cost the same) that reads ten
  turns of history anew for each reply of 20 tokens, in the type and batch in which it is fastest;
- ChatterBot after 50,000 statements of the chitchat corpus, one at a time, as it works.

The peers need `pip install transformers chatterbot`; what is not installed is left out. Some minutes, best on an idle
machine.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import websocket

from data.formats.corpora import chitchat

CLIENTS, TOKENS, HISTORY = 64, 20, 10
THINK = 1.0
WORDS = (
    "i",
    "you",
    "we",
    "like",
    "do",
    "not",
    "the",
    "a",
    "movie",
    "book",
    "game",
    "music",
    "what",
    "is",
    "how",
    "are",
)


@dataclass
class Measured:
    """Of all clients: seconds from a message to the first words of its reply, and to the reply's end."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)


@click.command()
@click.argument("checkpoint", default="default")
@click.option("--seconds", default=20.0, show_default=True, help="How long the clients talk.")
@click.option("--workers", default=1, show_default=True, help="Processes of the server.")
@click.option("--statements", default=50_000, show_default=True, help="What ChatterBot has been told.")
@click.option("--serve", hidden=True, help="Be the server, with this decoding.")
def main(checkpoint: str, seconds: float, workers: int, statements: int, serve: str | None) -> None:
    if serve:
        return be_server(checkpoint, serve, workers)
    print(f"{os.cpu_count()} processors; {CLIENTS} clients, {workers} worker(s) of the server")
    greedy = over_websockets(checkpoint, "greedy", seconds, workers)
    over_websockets(checkpoint, "chosen", seconds, workers)
    for name, peer in {"GPT-2 small's shape": transformer, "ChatterBot": lambda: chatterbot(statements)}.items():
        try:
            rate, how = peer()
        except ImportError as missing:
            print(f"{name}: left out, {missing}")
            continue
        print(f"{name:>22}: {rate:7.2f} replies/s ({how}); greedy over websockets is {greedy / rate:.0f} x as fast")


def sentence(words: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


# This chatbot


def be_server(checkpoint: str, decoding: str, workers: int) -> None:
    from web.config import Settings
    from web.server import run

    def engine() -> object:
        from chatbot.reply import DEFAULT, GREEDY
        from web.engine_process import EngineProcess

        how = {"greedy": GREEDY, "chosen": replace(DEFAULT, candidates=10)}[decoding]
        length = {"greedy": (TOKENS, TOKENS), "chosen": (how.min_tokens, how.max_tokens)}[decoding]
        return EngineProcess(checkpoint, replace(how, min_tokens=length[0], max_tokens=length[1]))

    most = 10**6
    run(
        Settings(
            port=0,
            database=f"sqlite:///{os.environ['CHATBOT_HOME']}/chatbot.db",
            workers=workers,
            messages_per_minute=most,
            tokens_per_minute=most,
            connects_per_minute=most,
        ),
        engine,  # type: ignore[arg-type]
    )


def over_websockets(checkpoint: str, decoding: str, seconds: float, workers: int) -> float:
    """-> replies a second."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, __file__, checkpoint, "--serve", decoding, "--workers", str(workers)]
        environment = os.environ | {"CHATBOT_HOME": home, "PYTHONPATH": str(Path(__file__).parent.parent)}
        server = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[2]
            converse(url, 3)  # warm up
            eager, paced = converse(url, seconds), converse(url, seconds, think=THINK)
        finally:
            memory = sorted(map(resident, descendants(server.pid)))
            server.terminate()
            server.wait()
    rate, shown = len(eager.whole) / seconds, " and ".join(f"{size:.0f}" for size in memory)
    print(f"{decoding:>22}: {rate:7.1f} replies/s; its processes hold {shown} MB")
    for name, found in {"answered at once": eager, "answered in a second": paced}.items():
        first, whole = (1000 * percentile(times) for times in (found.first, found.whole))
        print(f"{name:>26}: 95 % have their first words within {first:.0f} ms and are whole within {whole:.0f} ms")
    return rate


def converse(url: str, seconds: float, think: float = 0.0) -> Measured:
    """`think` seconds, in the mean, between a reply and the next message."""
    measured, clients = Measured(), [Client(url) for _ in range(CLIENTS)]
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=client.converse, args=(end, think, measured)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return measured


class Client:
    """One conversation over a bare websocket, which costs this machine less than a library does."""

    def __init__(self, url: str) -> None:
        address = url.replace("http", "ws") + "socket.io/?EIO=4&transport=websocket"
        self.socket = websocket.create_connection(address, skip_utf8_validation=True, timeout=60)
        self.socket.recv()
        self.socket.send('40{"protocol":1}')
        self.until("ready")
        self.socket.send('420["conversation.create",{}]')
        self.conversation = self.until("430[")[0]["conversation_id"]

    def until(self, *marks: str) -> list[Any]:
        """The next frame that holds one of these."""
        while True:
            frame = self.socket.recv()
            if frame == "2":
                self.socket.send("3")
            elif any(mark in frame for mark in marks):
                return json.loads(frame[frame.index("[") :])

    def converse(self, end: float, think: float, measured: Measured) -> None:
        turn = 0
        while time.monotonic() < end:
            time.sleep(random.expovariate(1 / think) if think else 0)
            begin = time.monotonic()
            said = {"conversation_id": self.conversation, "client_msg_id": str(uuid.uuid4())}
            turn += 1
            said["text"] = sentence(8, turn)
            self.socket.send("42" + json.dumps(["message.send", said]))
            if self.until("reply.delta", "reply.completed")[0] == "reply.delta":
                first = time.monotonic()
                self.until("reply.completed")
            else:
                first = time.monotonic()
            measured.first.append(first - begin)
            measured.whole.append(time.monotonic() - begin)
        self.socket.close()


def descendants(pid: int) -> list[int]:
    """The processes that it started, and those that they did."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    own = [int(child) for thread in threads for child in thread.read_text().split()]
    return own + [further for child in own for further in descendants(child)]


def resident(pid: int) -> float:
    """MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def percentile(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


# The peers


def transformer() -> tuple[float, str]:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config()).eval()
    rates = {}
    for name, kind in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items():
        model = model.to(kind)
        for batch in (1, 8, 32):
            history = torch.randint(0, 50_000, (batch, HISTORY * 15))  # tokens; an utterance of chitchat has some 15
            with torch.inference_mode():
                rates[f"{name}, {batch} at once"] = batch / best(partial(generate, model, history), 2)
    how = max(rates, key=rates.__getitem__)
    return rates[how], how


def generate(model: Any, history: Any) -> None:
    """Greedy, its keys and values kept from token to token."""
    model.generate(
        history,
        attention_mask=history.new_ones(history.shape),
        max_new_tokens=TOKENS,
        min_new_tokens=TOKENS,
        do_sample=False,
        pad_token_id=0,
    )


def chatterbot(statements: int) -> tuple[float, str]:
    """As its documentation has it trained, on what people said to each other, and with its default settings; of its
    taggers the default one if its spaCy model is there (`python -m spacy download en_core_web_sm`)."""
    import spacy.util
    from chatterbot import ChatBot, tagging
    from chatterbot.trainers import ListTrainer

    has_model = spacy.util.is_package("en_core_web_sm") or Path("en_core_web_sm").is_dir()
    tagger = tagging.PosLemmaTagger if has_model else tagging.LowercaseTagger
    said = [text for dialogue in chitchat() for text in dialogue.utterances]
    with tempfile.TemporaryDirectory() as folder:
        bot = ChatBot("peer", database_uri=f"sqlite:///{folder}/peer.db", tagger=tagger)
        ListTrainer(bot, show_training_progress=False).train(said[:statements])
        asked = random.Random(0).sample(said[statements:], 20)
        begin = time.perf_counter()
        for text in asked:
            bot.get_response(text)
        return len(asked) / (time.perf_counter() - begin), f"{statements:,} statements, {tagger.__name__}"


def best(work: Callable[[], None], rounds: int) -> float:
    """Seconds of the fastest round, after one to warm up."""
    seconds = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


if __name__ == "__main__":
    main()
