"""`chatbot models`: which checkpoint answers, and what another would say."""

from pathlib import Path

import click

from data.errors import UserError, told_to_user


@click.group()
def models() -> None:
    """Checkpoints: which one is live, and what they reply."""


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


@models.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.argument("utterances", metavar="[UTTERANCE]...", nargs=-1)
@click.option("--file", type=click.Path(path_type=Path), help="Utterances, one a line, beside those given.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the sampled replies.")
def compare(first: str, second: str, utterances: tuple[str, ...], file: Path | None, seed: int) -> None:
    """Print what the checkpoints A and B (folders, `default` or `live`) reply to the same utterances, side by side.

    Each is said out of the blue and answered twice: as in chat, and greedily. Without any UTTERANCE it is three film
    lines.
    """
    from rich.console import Console

    from chatbot.checkpoint import CheckpointError, load_checkpoint
    from chatbot.compare import SAMPLE, side_by_side

    with told_to_user(CheckpointError, RuntimeError):
        lines = file.read_text("utf-8-sig", errors="replace").splitlines() if file else []
        said = [text.strip() for text in (*utterances, *lines) if text.strip()]
        if not said and (utterances or file):
            raise UserError("There is nothing to reply to; give an utterance that says something, or none at all.")
        names = {first: first, second if second != first else f"{second} (again)": second}
        checkpoints = {name: load_checkpoint(where) for name, where in names.items()}
        table = side_by_side(checkpoints, said or SAMPLE, seed)
    Console().print(table, markup=False)


@models.command()
@click.argument("where", metavar="CHECKPOINT")
@click.argument("prepared", type=click.Path(path_type=Path))
@click.option("--source", "sources", multiple=True, help="A corpus in PREPARED whose licence allows that, by its name.")
def index(where: str, prepared: Path, sources: tuple[str, ...]) -> None:
    """Let CHECKPOINT also answer with what people said in the PREPARED folder, where that fits better.

    The responses of its training dialogues then stand among every reply's candidates, to be given again word for word.
    So only permissively licensed corpora are taken (chitchat, self_dialogue, synthetic_persona_chat) and those named by
    --source; conversations of users never. The index is kept under $CHATBOT_HOME (var) and belongs to this checkpoint;
    delete it to do without.
    """
    from rich.console import Console
    from rich.progress import track

    from chatbot.checkpoint import load_checkpoint
    from chatbot.retrieval import PERMISSIVE, index_file, index_responses

    console = Console(stderr=True)
    with told_to_user(ValueError):
        checkpoint = load_checkpoint(where)
        allowed = (*PERMISSIVE, *sources)
        count = index_responses(checkpoint, prepared, allowed, lambda items, what: track(items, what, console=console))
    click.echo(f"{checkpoint.id} knows {count:,} responses, kept in {index_file(checkpoint)}.")
    click.echo("A server that is running takes them at its next start.")
