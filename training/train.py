"""The whole way from corpora to a checkpoint: prepare -> word2vec -> pretrain on pairs -> train on dialogues, and
against a discriminator where the recipe says so.

Every step leaves its result in the run's folder and is passed over once it is there, so a run that was stopped anywhere
goes on by the same command.
"""

import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from chatbot.checkpoint import load_checkpoint, save_checkpoint
from chatbot.choosing.storing import inherit_chooser
from chatbot.model import HRED, ModelConfig
from chatbot.shelf import folder_of
from chatbot.state_map import add_map
from data.progress import LoggedProgress
from data.store import TokenStore
from data.vocabulary import Vocabulary
from data.word_vectors import embeddings_for, load_word_vectors
from training.adversarial import AdversarialStage
from training.config import AdversarialConfig, CorpusConfig, Recipe, StageConfig
from training.loop import Stage
from training.substitution import Substitution
from training.word2vec import train_word2vec

_TOO_FEW = {"dialogues": "dialogues of three utterances or more", "pairs": "pairs"}
_HALF_WRITTEN = (".word2vec-*", "*/.kept-*", ".checkpoint-*")


def train(recipe: Recipe, console: Console) -> Path:
    """Follows a recipe to its end; returns the folder of the finished checkpoint.

    Raises ValueError with a sentence where a corpus, a file of vectors or an earlier run does not fit the recipe.
    """
    prepared = recipe.corpus.prepared
    vocabulary = vocabulary_of(prepared)
    corpus = recipe.train.corpus or "dialogues"
    for need in (corpus, recipe.adversarial.corpus if recipe.adversarial is not None else corpus):
        if not _suffices(prepared / need):
            raise ValueError(
                f"{prepared} holds too few {_TOO_FEW[need]} to learn from and be judged by; "
                f'prepare more, or name another corpus than "{need}" in the recipe.'
            )
    if any(stage.substitute for stage in (recipe.pretrain, recipe.train) if stage is not None):
        Substitution.of(prepared, vocabulary)  # or say at once that it cannot be done
    _begin(recipe.run, vocabulary)
    torch.manual_seed(recipe.seed)
    model = _first_model(recipe, vocabulary, console)
    if recipe.pretrain is not None:
        model = _pretrain(recipe, recipe.pretrain, model, vocabulary, console)
    model = _run_stage("train", corpus, recipe.train, model, vocabulary, recipe, console)
    if recipe.adversarial is not None:
        _run_adversarial(recipe.adversarial, model, vocabulary, recipe, console)
    last_stage = "train" if recipe.adversarial is None else "adversarial"
    return _finish(recipe.run, last_stage, prepared / corpus / "train", recipe.start)


def vocabulary_of(prepared: Path) -> Vocabulary:
    """The vocabulary of a prepared folder. Raises ValueError with a sentence where it has none."""
    path = prepared / "vocabulary.json"
    try:
        return Vocabulary.load(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is missing or damaged; make {prepared} with `chatbot prepare`.") from error


def _suffices(corpus: Path) -> bool:
    """Whether there is something to learn from and something to be judged by."""
    return all(len(TokenStore.open(corpus / split)) for split in ("train", "validation"))


def _begin(run: Path, vocabulary: Vocabulary) -> None:
    """Makes the run's folder, or clears one of a killed run of what it left half-written; its words stay the same."""
    run.mkdir(parents=True, exist_ok=True)
    for pattern in _HALF_WRITTEN:
        for folder in run.glob(pattern):
            shutil.rmtree(folder)
    own = run / "vocabulary.json"
    if not own.is_file():
        fresh = run / ".vocabulary.json"
        vocabulary.save(fresh)
        fresh.replace(own)
    elif Vocabulary.load(own).tokens != vocabulary.tokens:
        raise ValueError(f"{run} was begun with other words than are prepared now; remove it or name another run.")


def _first_model(recipe: Recipe, vocabulary: Vocabulary, console: Console) -> HRED:
    """A fresh network whose words are word2vec's, or the one that the recipe starts with."""
    if not recipe.start:
        model = HRED(ModelConfig(len(vocabulary), **asdict(recipe.model)))
        _start_words(model, vocabulary, recipe, console)
        return model
    start = load_checkpoint(recipe.start)
    if start.model.config.kind != "hred":
        raise ValueError(f"'{recipe.start}' is a {start.model.config.kind}; a recipe can start with an HRED only.")
    if start.vocabulary.tokens != vocabulary.tokens:
        raise ValueError(
            f"{recipe.corpus.prepared} was prepared with other words than those of '{recipe.start}'; prepare it with "
            f"--vocabulary {start.folder / 'vocabulary.json'}, or name a folder that is not there yet."
        )
    return start.model.requires_grad_(True)


def _start_words(model: HRED, vocabulary: Vocabulary, recipe: Recipe, console: Console) -> None:
    """Fills the embeddings from word2vec, trained first if need be."""
    if recipe.word2vec is None:
        return
    source = recipe.word2vec.file or recipe.run / "word2vec.bin"
    if not recipe.word2vec.file and not Path(source).is_file():
        word2vec(
            recipe.corpus.prepared,
            vocabulary,
            Path(source),
            recipe.model.embedding_size,
            recipe.word2vec.epochs,
            console,
        )
    embeddings = embeddings_for(vocabulary, load_word_vectors(source), recipe.seed)
    if embeddings.matrix.shape[1] != recipe.model.embedding_size:
        raise ValueError(
            f"{source} has vectors of {embeddings.matrix.shape[1]} numbers, the recipe's embedding_size is "
            f"{recipe.model.embedding_size}; make them equal."
        )
    coverage = f"word2vec: {embeddings.coverage:.1%} of {len(vocabulary):,} words start from {source}"
    console.print(coverage, soft_wrap=True, markup=False)
    model.embedding.weight.data.copy_(torch.from_numpy(embeddings.matrix))


def word2vec(prepared: Path, vocabulary: Vocabulary, out: Path, size: int, epochs: int, console: Console) -> None:
    """Trains word vectors with a progress bar. Raises ValueError where there are no words."""
    with LoggedProgress(console=console) as progress:
        task = progress.add_task("word2vec", total=epochs)
        train_word2vec(prepared, vocabulary, out, size, epochs, lambda done: progress.update(task, completed=done))


def _pretrain(recipe: Recipe, stage: StageConfig, model: HRED, vocabulary: Vocabulary, console: Console) -> HRED:
    corpus = stage.corpus or "pairs"
    if _suffices(recipe.corpus.prepared / corpus):
        return _run_stage("pretrain", corpus, stage, model, vocabulary, recipe, console)
    console.print(f"pretrain: passed over, for the corpora hold too few {_TOO_FEW[corpus]} (subtitles would add pairs)")
    return model


def _run_stage(
    name: str, corpus: str, config: StageConfig, model: HRED, vocabulary: Vocabulary, recipe: Recipe, console: Console
) -> HRED:
    learned, judged = _stores(recipe.corpus, corpus)
    substitution = Substitution.of(recipe.corpus.prepared, vocabulary) if config.substitute else None
    folder = recipe.run / name
    stage = Stage(name, config, model, vocabulary, learned, judged, folder, recipe.precision, recipe.seed, substitution)
    return stage.run(console)


def _run_adversarial(
    config: AdversarialConfig, model: HRED, vocabulary: Vocabulary, recipe: Recipe, console: Console
) -> None:
    learned, judged = _stores(recipe.corpus, config.corpus)
    folder = recipe.run / "adversarial"
    AdversarialStage(config, model, vocabulary, learned, judged, folder, recipe.precision, recipe.seed).run(console)


def _stores(config: CorpusConfig, corpus: str) -> tuple[TokenStore, TokenStore]:
    """What is learned from and what judges it."""
    learned, judged = (TokenStore.open(config.prepared / corpus / split) for split in ("train", "validation"))
    if config.half != "both":
        learned = learned.every_other(("first", "second").index(config.half))
    return learned, judged


def _finish(run: Path, last_stage: str, learned: Path, start: str) -> Path:
    """The checkpoint that the last stage kept, in the run's own folder with the record of its training, and with the
    chooser of the checkpoint that it started with."""
    kept = load_checkpoint(run / last_stage / "kept")
    checkpoint = save_checkpoint(run / "checkpoint", kept.model, kept.vocabulary, kept.metrics)
    for record in (*run.glob("*/curves.png"), *run.glob("*/metrics.jsonl")):
        shutil.copy(record, checkpoint.folder / f"{record.parent.name}-{record.name}")
    with suppress(ValueError):  # of a handful of dialogues there is no map
        add_map(checkpoint.folder, checkpoint.model, TokenStore.open(learned))
    if start:
        inherit_chooser(checkpoint.folder, folder_of(start))
    return checkpoint.folder
