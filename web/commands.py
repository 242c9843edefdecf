"""`chatbot serve`."""

import os
from typing import TYPE_CHECKING, Any

import click

from chatbot.persona import OWN_NAME, Persona
from chatbot.safety.answers import HELP
from data.errors import UserError

if TYPE_CHECKING:
    from web.config import Settings


@click.command()
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (8000; 0 takes a free one).")
@click.option("--database", metavar="URL", help="Where the history is kept (sqlite:///var/chatbot.db).")
@click.option("--checkpoint", metavar="NAME", help="Who answers: live, default or a checkpoint's folder (live).")
@click.option("--name", metavar="NAME", help=f"What the chatbot is called ({OWN_NAME}).")
@click.option("--help-text", "help", metavar="TEXT", help=f"Where a person in danger finds help ({HELP}).")
@click.option("--workers", type=int, metavar="N", help="Workers, each with an engine of its own (1).")
@click.option("--redis", metavar="URL", help="A Redis or Valkey for workers on several machines (none).")
@click.option(
    "--learn/--no-learn",
    default=None,
    help="Whether new conversations may be learned from where the person does not choose (they may not).",
)
@click.option("--keep-days", type=int, metavar="N", help="Erase what was not touched for N days (0: keep for ever).")
def serve(**flags: Any) -> None:
    """Serve the chat: the page and the websocket API.

    What is not given as an option is taken from the environment: CHATBOT_HOST, CHATBOT_PORT, CHATBOT_DATABASE,
    CHATBOT_CHECKPOINT, CHATBOT_NAME, CHATBOT_HELP, CHATBOT_WORKERS, CHATBOT_REDIS, CHATBOT_LEARN, CHATBOT_KEEP_DAYS;
    besides CHATBOT_ORIGINS, CHATBOT_HOSTS, CHATBOT_PROXIES, CHATBOT_CONNECTIONS, CHATBOT_CONNECTIONS_PER_USER,
    CHATBOT_CONNECTS_PER_MINUTE, CHATBOT_MESSAGE_CHARACTERS, CHATBOT_EVENT_BYTES, CHATBOT_MESSAGES_PER_MINUTE,
    CHATBOT_TOKENS_PER_MINUTE, CHATBOT_REPLIES, CHATBOT_REPLIES_PER_USER and CHATBOT_DRAIN_SECONDS. The limits are each
    worker's own.
    """
    from web.config import Settings, SettingsError
    from web.server import run

    try:
        settings = Settings.from_environment(os.environ, **flags)
    except SettingsError as error:
        raise UserError(str(error)) from error
    run(settings, lambda: _engine(settings))


def _engine(settings: "Settings") -> Any:
    from web.engine_process import EngineProcess  # in the worker: numpy starts threads

    return EngineProcess(settings.checkpoint, persona=Persona(settings.name, settings.help))


commands: dict[str, click.Command] = {"serve": serve}
