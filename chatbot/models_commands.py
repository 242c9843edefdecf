"""`chatbot models`: which checkpoint answers."""

import click

from data.errors import told_to_user


@click.group()
def models() -> None:
    """Checkpoints: which one is live."""


@models.command()
@click.argument("where", metavar="CHECKPOINT")
def promote(where: str) -> None:
    """Make CHECKPOINT live: `chatbot serve` and `chatbot talk` answer with it from now on.

    It is a folder that `chatbot train` wrote, or `default`, which goes back to the shipped one.
    """
    from chatbot.checkpoint import CheckpointError
    from chatbot.checkpoint import promote as make_live

    with told_to_user(CheckpointError):
        checkpoint = make_live(where)
    click.echo(f"{checkpoint.id} is live. A server that is running takes it at its next start.")
