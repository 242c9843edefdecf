"""The echo server as a process of its own, so that tests can kill it and start it again at the same address."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ECHO_SERVER = Path(__file__).parent / "echo_server.py"


class RunningServer:
    """Replies "You said: …" word by word at `url`; keeps its database and its port when it is started again."""

    def __init__(self, folder: Path, delay: float = 0.01, **settings: object) -> None:
        self.folder = folder
        self.delay = delay
        self.environment = {f"CHATBOT_{name.upper()}": str(value) for name, value in settings.items()}
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.start()

    def start(self) -> None:
        command = [sys.executable, ECHO_SERVER, "--database", f"sqlite:///{self.folder / 'chat.db'}"]
        command += ["--port", str(self.port), "--delay", str(self.delay)]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | self.environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        announced = self.process.stdout.readline()
        assert re.search(r"http://\S+", announced), (self.folder / "server.log").read_text()

    def kill(self) -> None:
        """SIGKILL: no chance to say goodbye."""
        self.process.kill()
        self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
