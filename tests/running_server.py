"""The echo server for the page's tests: they kill it and start it again at the same address."""

from pathlib import Path
from urllib.parse import urlsplit

from tests.clients import echo_server


class RunningServer:
    """Replies "You said: …" word by word at `url`; keeps its database and its port when it is started again."""

    def __init__(self, folder: Path, delay: float = 0.01, **settings: object) -> None:
        self.environment = {f"CHATBOT_{name.upper()}": str(value) for name, value in settings.items()}
        self.database, self.delay = f"sqlite:///{folder / 'chat.db'}", delay
        self.port = 0  # any free one at first
        self.start()

    def start(self) -> None:
        self._server = echo_server(self.database, self.delay, self.port, **self.environment)
        self.url = f"{self._server.url}/"
        self.port = urlsplit(self.url).port or 0
        self.running = True

    def kill(self) -> None:
        """SIGKILL: no chance to say goodbye."""
        self._server.kill()
        self._server.close()
        self.running = False
