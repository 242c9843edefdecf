"""The official JavaScript client, by the ten-line example that the project ships."""

import subprocess
from pathlib import Path

import playwright

from tests.running_server import RunningServer

EXAMPLE = Path(__file__).parent.parent / "web" / "examples" / "chat.mjs"
# Playwright brings a Node of its own; Debian's is too old to have a WebSocket.
NODE = Path(playwright.__file__).parent / "driver" / "node"


def test_the_official_javascript_client_holds_a_conversation(tmp_path: Path) -> None:
    assert NODE.exists(), "Playwright's Node is missing: run '.venv/bin/pip install --force-reinstall playwright'."
    server = RunningServer(tmp_path)
    try:
        said = subprocess.run(
            [NODE, EXAMPLE, server.url, "Hi!", "How was your day?", "Good night"],
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
