"""`chatbot models`: which checkpoint answers."""

from pathlib import Path

import click

from data.errors import UserError


@click.group()
def models() -> None:
    """Checkpoints: which one is live."""


@models.command()
@click.argument("folder", type=click.Path(path_type=Path))
def promote(folder: Path) -> None:
    """Make the checkpoint in FOLDER the live one, with which `chatbot serve` and `chatbot talk` answer from now on."""
    from chatbot.checkpoint import CheckpointError
    from chatbot.checkpoint import promote as make_live

    try:
        checkpoint = make_live(folder)
    except CheckpointError as error:
        raise UserError(str(error)) from error
    click.echo(f"{checkpoint.id} is live. A server that is running takes it at its next start.")
