"""A small random model with a real vocabulary, for tests that need some checkpoint and not a good one."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from chatbot.checkpoint import Checkpoint, save_checkpoint
from chatbot.model import HRED, ModelConfig
from data.tokenizer import tokenise
from data.vocabulary import Vocabulary

_WORDS = "Hello there, how are you today? I am fine. I like music and films, do you? What is your name? Yes! No."


def tiny_model(vocabulary_size: int, seed: int = 0, **network: Any) -> HRED:
    """`network`: kind, cell, layers, bidirectional (see ModelConfig)."""
    torch.manual_seed(seed)
    sizes = {"embedding_size": 8, "encoder_size": 6, "state_size": 10, "decoder_size": 12}
    model = HRED(ModelConfig(vocabulary_size, **sizes, **network))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval().requires_grad_(False)


def tiny_checkpoint(folder: Path, seed: int = 0, **network: Any) -> Checkpoint:
    vocabulary = Vocabulary.from_counts(Counter(tokenise(_WORDS)), 100)
    return save_checkpoint(
        folder, tiny_model(len(vocabulary), seed, **network), vocabulary, {"validation": {"perplexity": 99.0}}
    )
