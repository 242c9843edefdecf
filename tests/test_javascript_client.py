"""JavaScript clients, the official one and the project's own, by the examples that the project ships."""

import subprocess
import threading
from pathlib import Path

import playwright
import pytest

from tests.running_server import RunningServer

EXAMPLES = Path(__file__).parent.parent / "web" / "examples"
# Playwright brings a Node of its own; Debian's is too old to have a WebSocket.
NODE = Path(playwright.__file__).parent / "driver" / "node"


@pytest.mark.parametrize("example", ["chat.mjs", "stream.mjs"])
def test_an_example_holds_a_conversation(tmp_path: Path, example: str) -> None:
    assert NODE.exists(), "Playwright's Node is missing: run '.venv/bin/pip install --force-reinstall playwright'."
    server = RunningServer(tmp_path)
    try:
        said = subprocess.run(
            [NODE, EXAMPLES / example, server.url, "Hi!", "How was your day?", "Good night"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        server.kill()
    assert said.stdout.splitlines() == [
        "you: Hi!",
        "bot: You said: Hi!",
        "you: How was your day?",
        "bot: You said: How was your day?",
        "you: Good night",
        "bot: You said: Good night",
    ], said.stderr


LOSING = """
import { ChatClient } from "%s";
const chat = new ChatClient(process.argv[2], { timeout: 240_000 });
await chat.connect();
const conversation = await chat.create();
const reply = await chat.stream(conversation, "word ".repeat(60).trim());
let said = "";
for await (const words of reply) {
  if (!said) console.log("begun");
  said += words;
}
const again = await chat.send(conversation, "Hello", "6f1d3b52-0000-4000-8000-000000000001");
const same = await chat.send(conversation, "Hello", "6f1d3b52-0000-4000-8000-000000000001");
const events = await chat.sync(conversation);
const refused = await chat.rename(conversation, "").catch((error) => error.code);
console.log(said === reply.reply.text, same.reply_id === again.reply_id, events.length, refused);
chat.close();
"""


def test_a_killed_server_costs_neither_a_message_nor_a_word(tmp_path: Path) -> None:
    (tmp_path / "losing.mjs").write_text(LOSING % (EXAMPLES.parent / "static" / "client.js").as_uri())
    server = RunningServer(tmp_path, delay=0.05)
    chat = subprocess.Popen(
        [NODE, tmp_path / "losing.mjs", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert chat.stdout is not None
        assert chat.stdout.readline() == "begun\n"
        server.kill()
        threading.Timer(1, server.start).start()
        said, errors = chat.communicate(timeout=240)
        assert said == "true true 6 invalid\n", errors
    finally:
        chat.kill()
        server.kill()


BRANCHING = """
import { ChatClient } from "%s";
const chat = new ChatClient(process.argv[2]);
await chat.connect();
const heard = [];
chat.on("event", ({ type }) => heard.push(type));
const conversation = await chat.create();
const first = await chat.send(conversation, "Hello");
const [{ data }] = await chat.sync(conversation);
const other = await (await chat.edit(conversation, data.message_id, "Hi")).wait();
await chat.choose(conversation, first.reply_id);
console.log(other.text, heard.at(-1), (await chat.search("HELLO"))[0].excerpt);
chat.close();
"""


def test_branches_are_made_chosen_and_found(tmp_path: Path) -> None:
    (tmp_path / "branching.mjs").write_text(BRANCHING % (EXAMPLES.parent / "static" / "client.js").as_uri())
    server = RunningServer(tmp_path)
    try:
        command = [NODE, tmp_path / "branching.mjs", server.url]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    finally:
        server.kill()
    assert said.stdout == "You said: Hi reply.chosen You said: Hello\n", said.stderr
