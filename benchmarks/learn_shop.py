"""The whole loop of learning, as it is used: an invented shop's bot, taught while people chat with it.

    python -m benchmarks.learn_shop
    python -m benchmarks.learn_shop ferry

300 logged dialogues of the shop (tests/shop_samples) are imported, 100 more said to a running server whose replies are
bettered over its API; `chatbot retrain --promote` runs while other clients chat; then the server is asked 50 questions
in words that nobody taught, and rolled back. Prints what was right before, after and after the rollback, what the gate
found, and how the other clients fared. Takes the better part of ten minutes on two idle cores. With `ferry`, the log of
a ferry line that repeats itself (tests/ferry) is imported instead, nothing is said, and 48 questions are asked.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from chatbot.history import open_history
from tests import ferry, shop
from tests.clients import ServerProcess, WireClient
from tests.shop import Question, is_right, nearest_neighbour

CHATBOT = str(Path(sys.executable).with_name("chatbot"))
PEOPLE, CHATTERS = 4, 2
SMALL_TALK = ("Hello!", "How are you?", "Do you like films?", "What is your name?", "See you later!")


class Chatter(threading.Thread):
    """Somebody who chats while the bot learns, over one connection, and keeps count."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.replies, self.failed, self.checkpoints, self.error = 0, 0, list[str](), ""
        self.leaving = threading.Event()

    def run(self) -> None:
        try:
            with WireClient(self._url) as client:
                conversation = client.create()
                while not self.leaving.is_set():
                    reply = client.reply_to(client.send(conversation, SMALL_TALK[self.replies % len(SMALL_TALK)]))
                    self.replies += 1
                    self.failed += reply["status"] != "completed"
                    if reply["checkpoint"] not in self.checkpoints:
                        self.checkpoints.append(reply["checkpoint"])
                    time.sleep(1)
        except Exception as error:  # whatever ends the connection is what is looked for here
            self.error = f"{type(error).__name__}: {error}"


class Subject(NamedTuple):
    """What is taught, by a log and by people, and how it is asked for."""

    logs: list[dict[str, Any]]
    talks: list[dict[str, Any]]
    questions: list[Question]


def teach(url: str, talks: list[dict[str, Any]]) -> None:
    """Says what the shop's visitors say, and what the bot should have replied, as some people would."""
    clients = [WireClient(url) for _ in range(PEOPLE)]
    for number, dialogue in enumerate(talks):
        client = clients[number % PEOPLE]
        conversation = client.call("conversation.create", learn=True)["conversation_id"]
        texts = [message["content"] for message in dialogue["messages"]]
        for said, better in zip(texts[::2], texts[1::2], strict=True):
            sent = client.send(conversation, said)
            client.reply_to(sent)
            given = client.call(
                "feedback.set",
                conversation_id=conversation,
                reply_id=sent["reply_id"],
                rating=0,
                better_text=better,
            )
            assert given["ok"], given
    for client in clients:
        client.close()


def ask(url: str, questions: list[Question]) -> list[tuple[Question, str]]:
    """Each question out of the blue -> what the server answers."""
    answers = []
    with WireClient(url) as client:
        for question in questions:
            answers.append((question, client.say(client.create(), question.text)))
    return answers


def right(answers: list[tuple[Question, str]]) -> str:
    count = sum(is_right(answer, question) for question, answer in answers)
    return f"{count} of {len(answers)} right"


def wait_for_checkpoint(url: str, id: str) -> float:
    """Seconds until new conversations are answered by this checkpoint."""
    started = time.monotonic()
    while True:
        with WireClient(url) as client:
            if client.ready["model"]["checkpoint"] == id:
                return time.monotonic() - started
        time.sleep(0.5)


def main() -> None:
    subject = Subject(shop.logs(), shop.talks(), shop.questions())
    if sys.argv[1:] == ["ferry"]:
        subject = Subject(ferry.logs(), [], ferry.questions())
    with tempfile.TemporaryDirectory() as home:
        database = f"sqlite:///{home}/chatbot.db"
        serve = [CHATBOT, "serve", "--port", "0", "--database", database]
        server = ServerProcess(serve, CHATBOT_HOME=home, CHATBOT_MESSAGES_PER_MINUTE="10000")
        try:
            follow(subject, server.url, home, database)
        finally:
            server.close()


def follow(subject: Subject, url: str, home: str, database: str) -> None:
    taught = shop.exchanges_of([*subject.logs, *subject.talks])
    near = [(question, nearest_neighbour(question.text, taught)) for question in subject.questions]
    print(f"nearest neighbour by shared words: {right(near)} of {len(taught):,} taught")
    print(f"before: {right(ask(url, subject.questions))}", flush=True)
    teach(url, subject.talks)
    logs = Path(home) / "logs.jsonl"
    logs.write_text("\n".join(map(json.dumps, subject.logs)), encoding="utf-8")
    chatters = [Chatter(url) for _ in range(CHATTERS)]
    for chatter in chatters:
        chatter.start()
    started = time.monotonic()
    command = [CHATBOT, "retrain", "--promote", "--logs", str(logs), "--database", database]
    environment = {"CHATBOT_HOME": home, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    print(f"retrained in {time.monotonic() - started:.0f} s, exit code {done.returncode}")
    print(done.stdout, done.stderr[-2000:])
    run = open_history(database).runs()[0]
    print(json.dumps(run.report, indent=2))
    if run.status == "promoted":
        print(f"taken by the server in {wait_for_checkpoint(url, run.checkpoint):.1f} s")
    answers = ask(url, subject.questions)
    print(f"after: {right(answers)}")
    for question, answer in answers:
        print(f"  {'ok ' if is_right(answer, question) else '   '} {question.text} -> {answer}")
    if run.status == "promoted":
        subprocess.run([CHATBOT, "models", "rollback"], env=environment, check=True)
        wait_for_checkpoint(url, run.parent_checkpoint)
        print(f"rolled back: {right(ask(url, subject.questions))}")
    for chatter in chatters:
        chatter.leaving.set()
        chatter.join()
        print(
            f"somebody else: {chatter.replies} replies, {chatter.failed} failed, checkpoints {chatter.checkpoints}, "
            f"{chatter.error or 'one connection throughout'}"
        )


if __name__ == "__main__":
    main()
