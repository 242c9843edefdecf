"""The whole server with the echo engine instead of a model, on a free port, for tests of the page and of clients.

    python tests/echo_server.py --database sqlite:////tmp/echo.db --port 8123 --delay 0.1

It prints the same line as `chatbot serve` once it can be reached; SIGTERM ends it.
"""

import os
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent.parent))


@click.command()
@click.option("--host", default="127.0.0.1")
@click.option("--port", type=int, default=0)
@click.option("--database", required=True)
@click.option("--delay", type=float, default=0.0, help="Seconds before each word of a reply.")
@click.option("--lease", type=float, help="Seconds that a reply is its worker's, other than usual.")
def main(host: str, port: int, database: str, delay: float, lease: float | None) -> None:
    from chatbot import history
    from tests.echo_engine import EchoEngine
    from web import conversations
    from web.config import Settings
    from web.server import run

    if lease:
        history.LEASE_SECONDS, conversations.RENEW_SECONDS = lease, lease / 4
    settings = Settings.from_environment(os.environ, host=host, port=port, database=database)
    run(settings, lambda: EchoEngine(delay))


if __name__ == "__main__":
    main()
