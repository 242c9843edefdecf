"""`chatbot models`: which checkpoints there are, which one answers, and what another would say."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import UserError, told_to_user

if TYPE_CHECKING:
    from chatbot.checkpoint import Checkpoint

_TAKEN = "A running server that answers with `live` takes it within seconds."
_DEEPEST = 3  # figures are named by as many words; what lies deeper is shown as JSON
_WIDEST = 300  # characters of one figure


@click.group()
def models() -> None:
    """Checkpoints: which one is live, and what they reply."""


@models.command("list")
def list_checkpoints() -> None:
    """The shipped checkpoint and every promoted one, the newest last: id, size, perplexity, when it was promoted."""
    from rich.console import Console
    from rich.table import Table

    from chatbot.shelf import SHIPPED, identify, live_id, promotions, shelf, shelved

    table = Table("checkpoint", "", "MB", "perplexity", "promoted")
    with told_to_user():
        shipped, live = identify(SHIPPED), live_id()
        promoted = {made.checkpoint_id: made.at.astimezone() for made in promotions()}
        never = datetime.min.replace(tzinfo=UTC)
        for name in sorted({shipped, live, *shelved()}, key=lambda name: (promoted.get(name, never), name)):
            folder = SHIPPED if name == shipped else shelf() / name
            marks = [mark for mark, own in (("live", live), ("default", shipped)) if own == name]
            when = f"{promoted[name]:%Y-%m-%d %H:%M}" if name in promoted else ""
            table.add_row(name, ", ".join(marks), _megabytes(folder), _perplexity(folder), when)
    Console().print(table, markup=False)


@models.command()
@click.argument("where", metavar="CHECKPOINT")
def show(where: str) -> None:
    """What is known of CHECKPOINT (an id of `chatbot models list`, a folder, `default` or `live`)."""
    from rich.console import Console
    from rich.table import Table

    from chatbot.checkpoint import load_checkpoint
    from chatbot.shelf import CheckpointError

    table = Table("figure", "value")
    with told_to_user(CheckpointError):
        for name, value in _known(load_checkpoint(where)):
            table.add_row(name, value)
    Console().print(table, markup=False)


@models.command()
@click.argument("where", metavar="CHECKPOINT")
def promote(where: str) -> None:
    """Make CHECKPOINT live: `chatbot serve` and `chatbot talk` answer with it from now on.

    It is a folder that `chatbot train` wrote, an id of `chatbot models list`, or `default`, the shipped one.
    """
    from chatbot.checkpoint import load_checkpoint
    from chatbot.shelf import CheckpointError, live_id
    from chatbot.shelf import promote as make_live

    with told_to_user(CheckpointError):
        reservations = list(_reservations(load_checkpoint(where), live_id()))
        checkpoint = make_live(where)
    click.echo(f"{checkpoint.id} is live. {_TAKEN}")
    for reservation in reservations:
        click.echo(f"{reservation} `chatbot models rollback` takes it back.")


@models.command()
def rollback() -> None:
    """Make the checkpoint live that was so before the last promotion; again, the one before that."""
    from chatbot.shelf import CheckpointError
    from chatbot.shelf import rollback as go_back

    with told_to_user(CheckpointError):
        checkpoint = go_back()
    click.echo(f"{checkpoint.id} is live again. {_TAKEN}")


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

    from chatbot.checkpoint import load_checkpoint
    from chatbot.compare import SAMPLE, side_by_side
    from chatbot.shelf import CheckpointError

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
    So only permissively licensed corpora are taken (chitchat, written, self_dialogue, synthetic_persona_chat) and those
    named by --source; conversations of users never. The index is kept under $CHATBOT_HOME (var) and belongs to this
    checkpoint; delete it to do without.
    """
    from rich.console import Console

    from chatbot.checkpoint import load_checkpoint
    from chatbot.processor import step_back
    from chatbot.retrieval import PERMISSIVE, index_file, index_responses
    from data.progress import track

    step_back()
    with told_to_user(ValueError):
        checkpoint = load_checkpoint(where)
        allowed = (*PERMISSIVE, *sources)
        count = index_responses(checkpoint, prepared, allowed, partial(track, console=Console(stderr=True)))
    click.echo(f"{checkpoint.id} knows {count:,} responses, kept in {index_file(checkpoint)}.")
    click.echo("A running server that answers with it takes them within seconds.")


@models.command("map")
@click.argument("where", metavar="CHECKPOINT")
@click.argument("prepared", type=click.Path(path_type=Path))
def draw(where: str, prepared: Path) -> None:
    """Draw the map on which the page shows a dialogue's path with CHECKPOINT, of what the PREPARED folder holds.

    `chatbot train` and `chatbot retrain` do so by themselves. Of the dialogues only numbers are kept.
    """
    from dataclasses import replace

    import numpy as np

    from chatbot.checkpoint import load_checkpoint
    from chatbot.state_map import FILE, add_map
    from data.store import TokenStore
    from data.vocabulary import Vocabulary

    with told_to_user(ValueError):
        checkpoint = load_checkpoint(where)
        known = Vocabulary.load(prepared / "vocabulary.json").tokens
        ids = np.array([checkpoint.vocabulary.id_of(token) for token in known])
        dialogues = TokenStore.open(prepared / "dialogues" / "train")
        if dialogues.tokens.size and dialogues.tokens.max() >= len(ids):
            raise UserError(f"The dialogues in {prepared} are of another vocabulary than its own; prepare it again.")
        add_map(checkpoint.folder, checkpoint.model, replace(dialogues, tokens=ids[dialogues.tokens]))
    click.echo(f"{checkpoint.id} has its map in {checkpoint.folder / FILE}; a server takes it at its next start.")


def _reservations(checkpoint: "Checkpoint", live: str) -> Iterator[str]:
    """What whoever makes a retraining's candidate live by hand may not know."""
    from chatbot.home import home
    from chatbot.shelf import promotions

    metrics = checkpoint.metrics if isinstance(checkpoint.metrics, dict) else {}
    run, parent = metrics.get("run"), metrics.get("parent")
    if not isinstance(run, str) or checkpoint.id in {made.checkpoint_id for made in promotions()}:
        return
    if parent != live:
        yield f"It comes from {_printable(parent)}; what {live}, which was live, has learned is not in it."
    with suppress(OSError, ValueError, LookupError, TypeError):
        record = json.loads((home() / "retrain" / Path(run).name / "run.json").read_text("utf-8"))
        if "report" not in record:
            yield "No gate has judged it yet."
        elif not record["report"]["gate"]["passed"]:
            yield "The gate did not let it pass."


def _megabytes(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:.1f}"


def _perplexity(folder: Path) -> str:
    """As it was measured in training, of a checkpoint that need not be whole."""
    try:
        return f"{json.loads((folder / 'metrics.json').read_text('utf-8'))['validation']['perplexity']:.2f}"
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def _known(checkpoint: "Checkpoint") -> Iterator[tuple[str, str]]:
    """What a checkpoint is, then whatever was measured of it and written down, by name."""
    from dataclasses import asdict

    yield "id", checkpoint.id
    yield "folder", str(checkpoint.folder)
    yield "megabytes", _megabytes(checkpoint.folder)
    yield "parameters", f"{sum(weights.numel() for weights in checkpoint.model.parameters()):,}"
    yield from _figures(asdict(checkpoint.model.config))
    yield from _figures(checkpoint.metrics)


def _figures(value: Any, *names: str) -> Iterator[tuple[str, str]]:
    """Any JSON as names and values: {"validation": {"perplexity": 27.65}} -> ("validation perplexity", "27.65")."""
    if isinstance(value, dict) and len(names) < _DEEPEST:
        for name, inner in value.items():
            yield from _figures(inner, *names, _printable(name))
    else:
        yield " ".join(names) or "metrics", _printable(value)


def _printable(value: Any) -> str:
    """In one line, and with nothing in it that commands a terminal."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
    else:
        text = value if isinstance(value, str) and value.isprintable() else json.dumps(value)
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"
