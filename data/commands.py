"""`chatbot prepare` and `chatbot fetch`."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import printable, told_to_user

if TYPE_CHECKING:
    from rich.console import Console

    from data.preparation import Report


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The prepared folder to write.")
@click.option("--vocabulary-size", default=20_000, show_default=True, type=click.IntRange(min=5))
@click.option(
    "--vocabulary", type=click.Path(path_type=Path), help="A vocabulary.json to keep instead of counting one."
)
@click.option(
    "--max-gap", default=1.0, show_default=True, type=click.FloatRange(min=0),
    help="Seconds between two subtitles that still make a question and its answer.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of the split into train, validation and test.")
@click.option(
    "--clean/--no-clean", default=True, show_default=True,
    help="Keep English talk only, its slips mended; or take tables, chats and plain text as they are, in any language.",
)  # fmt: skip
def prepare(
    sources: tuple[str, ...],
    out: Path,
    vocabulary_size: int,
    vocabulary: Path | None,
    max_gap: float,
    seed: int,
    clean: bool,
) -> None:
    """Read, clean, divide and encode corpora for training.

    A SOURCE is a file or a folder, plain, compressed or archived, of subtitles or dialogues in any known format; or
    the name of a corpus that is installed with this program: chitchat, chats of people; written, conversations with a
    chatbot that were written for it.
    """
    from rich.console import Console

    from data.preparation import PrepareConfig, PrepareError
    from data.preparation import prepare as run

    console = Console(stderr=True)
    config = PrepareConfig(vocabulary_size, vocabulary, max_gap, seed, clean)
    with told_to_user(PrepareError), _progress("Reading", console) as on_progress:
        report = run(sources, out, config, on_progress)
    _show(report)
    click.echo(f"Prepared {out}: a vocabulary of {report.vocabulary:,}, {report.unknown:.1%} of tokens outside it.")


@click.command()
@click.argument("name", type=click.Choice(["cornell", "dailydialog", "opensubtitles", "self_dialogue"]))
@click.option(
    "--into", default=Path("var/corpora"), show_default=True, type=click.Path(path_type=Path, file_okay=False)
)
def fetch(name: str, into: Path) -> None:
    """Download a public corpus, going on where an earlier download ended.

    Its address, licence and citation are printed: read them before you use it.
    """
    from rich.console import Console

    from data.download import CORPORA, DownloadError
    from data.download import fetch as run

    corpus = CORPORA[name]
    click.echo(f"From     {corpus.url}\nLicence  {corpus.licence}\nCite     {corpus.citation}")
    with told_to_user(DownloadError), _progress(f"Fetching {name}", Console(stderr=True)) as on_progress:
        file = run(corpus, into, on_progress)
    pinned = "matches the published SHA-256" if corpus.sha256 else "no SHA-256 is published; its own is kept beside it"
    click.echo(f"Fetched {file} ({pinned}). Next: chatbot prepare {file} --out var/prepared")


@contextmanager
def _progress(what: str, console: "Console") -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left, on stderr; gives the function that moves it."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from data.progress import LoggedProgress

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with LoggedProgress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(report: "Report") -> None:
    """The table of what was kept and dropped, on stdout; skipped files on stderr."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    for name, reason in report.skipped:
        click.echo(printable(f"Skipped {name}: {reason}."), err=True)
    if report.skipped:
        click.echo(f"{len(report.skipped):,} files skipped.", err=True)
    for unread in report.unread:
        click.echo(printable(f"{unread[0].upper()}{unread[1:]}."), err=True)
    table = Table(
        "source", *(Column(name, justify="right") for name in ("dialogues", "utterances", "tokens")), "dropped"
    )
    for source in sorted(report.kept.keys() | report.dropped.keys()):
        kept, dropped = report.kept.get(source, Counter()), report.dropped.get(source, Counter())
        why = ", ".join(f"{reason} {count:,}" for reason, count in dropped.most_common() if count)
        table.add_row(
            escape(printable(source)),
            *(f"{kept.get(size, 0):,}" for size in ("dialogues", "utterances", "tokens")),
            why,
        )
    Console().print(table)


commands: dict[str, click.Command] = {"prepare": prepare, "fetch": fetch}
