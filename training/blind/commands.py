"""`chatbot blind`: a pile of replies to be read blind, and what readers made of it."""

import json
import lzma
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError, told_to_user

if TYPE_CHECKING:
    from rich.table import Table

    from chatbot.estimates import Estimate
    from chatbot.ssa import Marked
    from training.blind.marks import Agreement, Reader
    from training.blind.pile import Pile

_folder = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.group()
def blind() -> None:
    """Let people read replies without knowing whose they are, and count how many make sense (docs/blind.md)."""


@blind.command()
@click.argument("names", metavar="CHECKPOINT...", nargs=-1, required=True)
@click.option(
    "--contexts", "corpus", required=True, type=click.Path(path_type=Path, exists=True),
    help="Conversations that no checkpoint has learned from, as chat JSONL or in another known format.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder for the pile.")
@click.option("--count", default=100, show_default=True, type=click.IntRange(2, 1_000), help="How many contexts.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of all that is drawn.")
def pile(names: tuple[str, ...], corpus: Path, out: Path, count: int, seed: int) -> None:
    """Make a pile of the replies of each CHECKPOINT (`default`, `live`, an id or a folder), of people and of random
    people, shuffled.

    Each context is of another conversation. Give readers pile.txt and marks.txt, and keep key.json from them.
    """
    from rich.console import Console

    from chatbot.checkpoint import load_checkpoint
    from chatbot.processor import step_back
    from data.progress import track
    from training.blind.pile import draw_contexts, make_pile, new_folder, write_pile
    from training.heldout import raw_dialogues

    step_back()
    try:
        with told_to_user(ValueError, RuntimeError), new_folder(out) as folder:
            checkpoints = {name: load_checkpoint(name) for name in names}
            _demand_apart(names, {name: checkpoint.id for name, checkpoint in checkpoints.items()})
            dialogues = raw_dialogues(corpus, lambda name, why: click.echo(f"Skipped in {name}: {why}.", err=True))
            drawn = draw_contexts(dialogues, 2 * count, seed)
            contexts, spare = drawn[:count], drawn[count:]
            shown = partial(track, console=Console(stderr=True))
            write_pile(make_pile(checkpoints, contexts, spare, seed, shown), folder)
    except KeyboardInterrupt:
        click.echo("Stopped; nothing was written.", err=True)
        raise SystemExit(130) from None
    if len(contexts) < count:
        click.echo(f"{corpus} has only {len(contexts)} conversations with a reply, a context each.", err=True)
    click.echo(f"{len(contexts)} contexts are in {out}: pile.txt and marks.txt for readers, key.json for you alone.")


def _demand_apart(names: tuple[str, ...], ids: dict[str, str]) -> None:
    """Raises UserError where two systems could not be told apart."""
    from training.blind.pile import PERSON, STRANGER

    if len(set(ids.values())) < len(names):
        raise UserError(f"Two of {', '.join(names)} are the same checkpoint; name each one once.")
    if taken := {PERSON, STRANGER} & ids.keys():
        raise UserError(f"{taken.pop()!r} names the replies of people in a pile; give that folder by a longer path.")


@blind.command()
@_folder
def score(folder: Path) -> None:
    """Print what the readers of the pile in FOLDER think of each system, and how far they agree.

    Reads every marks.NAME.txt in FOLDER. Lines that cannot be read and missing marks are named, and left out.
    """
    from rich.console import Console

    from training.blind.marks import agreements, marked_by_system

    made, readers = _read(folder)
    Console().print(_table(marked_by_system(made, readers), made), markup=False)
    click.echo("Shares in per cent with 95 % intervals (bootstrap over contexts); every reader's mark counts alike.")
    for name, checkpoint in made.checkpoints.items():
        click.echo(f"{name} is {checkpoint}.")
    for one in agreements(readers):
        click.echo(_sentence(one))


@blind.command()
@_folder
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
def judgements(folder: Path, out: Path) -> None:
    """Write what the readers of the pile in FOLDER marked to a new file OUT (.jsonl or .jsonl.xz).

    A line holds what one reader marked at one context, as training/judgements.jsonl.xz does, from which a choice among
    candidates can learn.
    """
    from training.blind.marks import judgements as records

    made, readers = _read(folder)
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records(made, readers))
    content = lines.encode()
    if out.exists():
        raise UserError(f"{out} is there already; name a new file.")
    with told_to_user(), out.open("xb") as file:
        file.write(lzma.compress(content) if out.suffix == ".xz" else content)
    click.echo(f"Wrote {lines.count(chr(10)):,} judged contexts to {out}.")


def _read(folder: Path) -> "tuple[Pile, list[Reader]]":
    """The pile and its readers, with what is wrong with their marks said. Raises UserError where nobody has marked."""
    from training.blind.marks import read_marks
    from training.blind.pile import KEY, read_key

    with told_to_user(ValueError):
        made = read_key(folder / KEY)
        readers = read_marks(folder, made)
    for fault in (fault for reader in readers for fault in reader.faults):
        click.echo(fault, err=True)
    if not any(reader.marks for reader in readers):
        why = "none of its marks can be read" if readers else "a reader's marks come as marks.NAME.txt"
        raise UserError(f"There is nothing to score in {folder}: {why}.")
    return made, readers


def _table(marked: "Iterable[Marked]", made: "Pile") -> "Table":
    from rich.box import SIMPLE
    from rich.table import Column, Table

    from chatbot.ssa import scores
    from training.blind.pile import PERSON, STRANGER

    figures = ("contexts", "sensible", "specific", "SSA")
    table = Table("replies of", *(Column(figure, justify="right", no_wrap=True) for figure in figures), box=SIMPLE)
    order = [*made.checkpoints, PERSON, STRANGER]
    for one in sorted(scores(marked), key=lambda one: order.index(one.system)):
        table.add_row(one.system, str(one.contexts), *map(_figure, (one.sensible, one.specific, one.ssa)))
    return table


def _figure(share: "Estimate") -> str:
    """A share and its interval, which one context alone does not give, in hundredths."""
    interval = f" ({100 * share.interval[0]:.0f}-{100 * share.interval[1]:.0f})" if share.interval else ""
    return f"{100 * share.value:.0f}{interval}"


def _sentence(found: "Agreement") -> str:
    def shown(name: str, share: float, kappa: float | None) -> str:
        measured = "" if kappa is None else f" (kappa {kappa:.2f})"
        return f"{name} on {share:.0%}{measured}"

    agreed = f"{shown('sensible', *found.sensible)}, {shown('specific', *found.specific)}"
    return f"{' and '.join(found.readers)} agree on {found.replies} replies: {agreed}."


commands: dict[str, click.Command] = {"blind": blind}
