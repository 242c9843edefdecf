"""A chooser with random weights, and what it takes to try it."""

from collections import Counter
from pathlib import Path

import torch

from chatbot.checkpoint import Checkpoint, load_checkpoint
from chatbot.choosing.network import Chooser, ChooserConfig
from chatbot.choosing.responses import exchanges_of, save_responses
from chatbot.choosing.storing import save_chooser
from data.tokenizer import tokenise
from data.vocabulary import Vocabulary
from tests.tiny_checkpoint import tiny_checkpoint

SIZE = 40


def tiny_chooser(size: int = SIZE, seed: int = 0) -> Chooser:
    torch.manual_seed(seed)
    chooser = Chooser(ChooserConfig(size, size=8))
    torch.nn.init.normal_(chooser.words.weight)
    return chooser.eval()


def words_of(*texts: str) -> Vocabulary:
    return Vocabulary.from_counts(Counter(word for text in texts for word in tokenise(text)), 200)


def checkpoint_with_chooser(folder: Path) -> Checkpoint:
    checkpoint = tiny_checkpoint(folder / "tiny")
    vocabulary = checkpoint.vocabulary
    ids = [
        tuple(vocabulary.encode(text))
        for text in ("Hello there", "How are you today?", "I am fine", "I like music and films.")
    ]
    save_chooser(checkpoint.folder, tiny_chooser(len(vocabulary)))
    save_responses(checkpoint.folder, exchanges_of([ids], vocabulary))
    return load_checkpoint(checkpoint.folder)
