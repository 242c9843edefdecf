"""What the chatbot answers to the same utterances on each of its channels, as a Markdown table or as JSON.

    python benchmarks/channels.py UTTERANCES [--json FILE] [--before FILE]

UTTERANCES is a file with one utterance a line; each begins a conversation of its own. The channels are `chatbot talk`,
the websocket (which the page and the widget use as well), /v1 and Rasa's channel. `--json` keeps the answers, and
`--before` puts those of an earlier run beside them.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

import click
import socketio

from chatbot.client import ChatClient

_CHATBOT = Path(sys.executable).with_name("chatbot")
_SEED = "1"
_SHOWN = 70  # characters of an answer now; they are long


def talked(utterance: str) -> str:
    asked = [_CHATBOT, "talk", "--checkpoint", "default", "--seed", _SEED]
    return subprocess.run(asked, input=utterance, text=True, capture_output=True, check=True).stdout.strip()


def over_websocket(client: ChatClient, utterance: str) -> str:
    return client.send(client.create(), utterance).text


def completed(address: str, utterance: str) -> str:
    body = {"model": "live", "seed": int(_SEED), "messages": [{"role": "user", "content": utterance}]}
    asked = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def over_rasa(address: str, utterance: str) -> str:
    """The answer that a widget made for Rasa gets."""
    answers: list[str] = []
    answered = threading.Event()
    widget = socketio.Client()
    widget.on("bot_uttered", lambda said: (answers.append(said["text"]), answered.set()))
    widget.connect(address, transports=["websocket"])
    widget.emit("session_request", {"session_id": None})
    widget.emit("user_uttered", {"message": utterance})
    answered.wait(60)
    widget.disconnect()
    return answers[0]


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server of its own, with the shipped checkpoint and an empty history."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        places = {"CHATBOT_HOME": folder, "CHATBOT_DATABASE": f"sqlite:///{folder}/chatbot.db"}
        asked = [_CHATBOT, "serve", "--port", str(port), "--checkpoint", "default"]
        server = subprocess.Popen(asked, env=os.environ | places, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield _ready(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait()


def _ready(address: str) -> str:
    while True:
        try:
            urllib.request.urlopen(f"{address}/healthz").close()
            return address
        except OSError:
            time.sleep(0.5)


def answers(utterances: list[str]) -> dict[str, dict[str, str]]:
    """Utterance -> channel -> what it was answered."""
    with serving() as address, ChatClient(address) as client:
        channels: dict[str, Callable[[str], str]] = {
            "talk": talked,
            "websocket": lambda said: over_websocket(client, said),
            "/v1": lambda said: completed(address, said),
            "Rasa": lambda said: over_rasa(address, said),
        }
        return {said: {name: channel(said) for name, channel in channels.items()} for said in utterances}


def rows(now: dict[str, dict[str, str]], before: dict[str, dict[str, str]]) -> Iterator[str]:
    """The lines of a table; answers that are the same on all channels are written once."""
    yield "| utterance | before: `talk` | before: websocket | before: `/v1` | before: Rasa | now, on all channels |"
    yield "|---|---|---|---|---|---|"
    for said, by_channel in now.items():
        answers_now = " / ".join(
            shorten(text, _SHOWN, placeholder=" ...") for text in dict.fromkeys(by_channel.values())
        )
        yield f"| {said} | {' | '.join(before.get(said, {}).values())} | {answers_now} |"


@click.command()
@click.argument("utterances", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "kept", type=click.Path(path_type=Path), help="Where to keep the answers.")
@click.option("--before", type=click.Path(path_type=Path, exists=True), help="The answers of an earlier run.")
def main(utterances: Path, kept: Path | None, before: Path | None) -> None:
    now = answers(utterances.read_text("utf-8").splitlines())
    if kept:
        kept.write_text(json.dumps(now, ensure_ascii=False, indent=1) + "\n", "utf-8")
    for row in rows(now, json.loads(before.read_text("utf-8")) if before else {}):
        print(row)


if __name__ == "__main__":
    main()
