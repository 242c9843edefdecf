"""A checkpoint gets a chooser and the responses of its own conversations."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from rich.console import Console

from chatbot.checkpoint import Checkpoint, load_checkpoint
from chatbot.choosing.network import Chooser, ChooserConfig
from chatbot.choosing.responses import exchanges_of, save_responses
from chatbot.choosing.sense import SenseJudge
from chatbot.choosing.storing import load_chooser, save_chooser
from chatbot.reply import DEFAULT
from data.cleaning import normalise
from data.formats.corpora import written
from data.progress import working
from data.store import TokenStore
from data.vocabulary import PAD
from training.choosing.examples import Examples
from training.choosing.judgements import SHIPPED, Judged, Measured, measure, read_judgements
from training.choosing.learning import Learning
from training.choosing.recipe import ChooserRecipe
from training.train import vocabulary_of


def teach_chooser(recipe: ChooserRecipe, console: Console) -> tuple[Path, Measured]:
    """Follow a recipe; return the folder of the checkpoint with its chooser, and what held-out judgements say of it.

    Raises ValueError with a sentence where a corpus, a file of judgements or an earlier run does not fit the recipe.
    """
    checkpoint = load_checkpoint(recipe.start)
    if vocabulary_of(recipe.corpus.prepared).tokens != checkpoint.vocabulary.tokens:
        raise ValueError(
            f"{recipe.corpus.prepared} was prepared with other words than those of '{recipe.start}'; prepare it with "
            f"--vocabulary {checkpoint.folder / 'vocabulary.json'}, or name a folder that is not there yet."
        )
    with working("Reading judgements", console):
        judged = read_judgements((SHIPPED, *recipe.judgements), checkpoint.vocabulary)
    examples = Examples(TokenStore.open(recipe.corpus.prepared / "dialogues" / "train"))
    torch.manual_seed(recipe.seed)
    chooser = _chooser_of(checkpoint) if recipe.continues else fresh_chooser(checkpoint, recipe.size)
    Learning(chooser, examples, judged, recipe, recipe.run / "chooser").run(console)
    measured = judge_chooser(chooser, [one for one in judged if one.is_held_out])
    with working("Collecting the written responses", console):
        _write(checkpoint, chooser, measured, recipe.run / "checkpoint")
    return recipe.run / "checkpoint", measured


def _chooser_of(checkpoint: Checkpoint) -> Chooser:
    """A copy of a checkpoint's chooser that can learn. Raises ValueError with a sentence where it has none."""
    chooser = load_chooser(checkpoint.folder, checkpoint.vocabulary)
    if chooser is None:
        raise ValueError(f"The checkpoint in {checkpoint.folder} has no chooser to go on from; leave out `continues`.")
    return chooser.requires_grad_(True)


def fresh_chooser(checkpoint: Checkpoint, size: int) -> Chooser:
    """One whose words begin as those of the checkpoint, on the directions along which these differ most."""
    words = checkpoint.model.embedding.weight.detach().float()
    chooser = Chooser(ChooserConfig(len(words), size))
    centred = words - words.mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False)[2][:size]
    reduced = centred @ directions.T
    reduced = reduced / reduced.std()
    reduced[PAD] = 0
    chooser.words.weight.data[:, : reduced.shape[1]] = reduced
    return chooser


def judge_chooser(chooser: Chooser, judged: list[Judged]) -> Measured:
    """What readers call the candidates that a chooser takes."""
    senses = SenseJudge(chooser, ()).judge([one.context for one in judged], [one.candidates for one in judged])
    return measure(
        judged, [[one.sensible + DEFAULT.specific_weight * one.specific for one in group] for group in senses]
    )


def _write(checkpoint: Checkpoint, chooser: Chooser, measured: Measured, folder: Path) -> None:
    """The checkpoint with its chooser, beside its place and moved there whole."""
    vocabulary = checkpoint.vocabulary
    dialogues = [
        [tuple(vocabulary.encode(normalise(text, vocabulary))) for text in one.utterances]
        for one in written()
        if one.split == "train"
    ]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".checkpoint-") as scratch:
        fresh = Path(scratch) / folder.name
        shutil.copytree(checkpoint.folder, fresh)
        save_chooser(fresh, chooser)
        save_responses(fresh, exchanges_of(dialogues, vocabulary))
        metrics = checkpoint.metrics | {"chooser": measured._asdict()}
        (fresh / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(Path(scratch) / "replaced")
        fresh.rename(folder)
