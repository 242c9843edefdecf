"""`chatbot keys`: who may use a server that is not open to everybody."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from data.errors import told_to_user

if TYPE_CHECKING:
    from chatbot.keys import Keys

_database = click.option(
    "--database", envvar="CHATBOT_DATABASE", metavar="URL", help="Where the keys are kept (sqlite:///var/chatbot.db)."
)


@click.group()
def keys() -> None:
    """Make, list and revoke API keys. From the first one on, the server asks everybody for a key."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["chat", "read"]),
    default=("chat",),
    show_default=True,
    help="chat: talk. read: read over HTTP what the key's users said and were told. May be given twice.",
)
@_database
def create(name: str, scopes: tuple[str, ...], database: str | None) -> None:
    """Make a key; it is printed once and kept nowhere."""
    with _open(database) as stored:
        click.echo(stored.create(name[:200], scopes))


@keys.command("list")
@_database
def list_keys(database: str | None) -> None:
    """The keys, oldest first: id, time, scopes, whether revoked, name."""
    with _open(database) as stored:
        for key in stored.all():
            state = "revoked" if key.revoked_at else "valid"
            click.echo(f"{key.id}  {key.created_at:%Y-%m-%d %H:%M}  {','.join(key.scopes)}  {state}  {key.name!r}")


@keys.command()
@click.argument("key_id", metavar="ID")
@_database
def revoke(key_id: str, database: str | None) -> None:
    """Take a key back: its connections are closed within two seconds, its users' tokens are refused."""
    with _open(database) as stored:
        stored.revoke(key_id)


@contextmanager
def _open(database: str | None) -> Iterator["Keys"]:
    from chatbot.history import DEFAULT_DATABASE, HistoryError, open_history, used
    from chatbot.keys import Keys

    url = database or DEFAULT_DATABASE
    with told_to_user(HistoryError), used(url):
        history = open_history(url)
        try:
            yield Keys(history)
        finally:
            history.engine.dispose()
