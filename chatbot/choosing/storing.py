"""The chooser of a checkpoint as a file: `chooser.safetensors`, weights in float16, its sizes beside them as JSON."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from chatbot.choosing.network import Chooser, ChooserConfig
from chatbot.choosing.responses import RESPONSES
from chatbot.pools import Undrawn, leaving_no_pool
from data.vocabulary import Vocabulary

CHOOSER = "chooser.safetensors"


def save_chooser(folder: Path, chooser: Chooser) -> None:
    """Write it into a checkpoint's folder."""
    weights = {name: value.detach().half().contiguous() for name, value in chooser.state_dict().items()}
    save_file(weights, folder / CHOOSER, {"config": json.dumps(asdict(chooser.config))})
    (folder / CHOOSER).chmod(0o644)  # safetensors makes it its owner's alone; a server may be another user


@leaving_no_pool
def load_chooser(folder: Path, vocabulary: Vocabulary) -> Chooser | None:
    """The chooser in a checkpoint's folder, in float32 and in evaluation mode, if there is one.

    Raises ValueError, KeyError, TypeError or SafetensorError where it is damaged or of another vocabulary.
    """
    file = folder / CHOOSER
    if not file.is_file():
        return None
    with safe_open(file, framework="pt") as content:
        config = ChooserConfig(**json.loads((content.metadata() or {})["config"]))
        weights = {name: content.get_tensor(name).to(torch.float32, copy=True) for name in content.keys()}  # noqa: SIM118
    if config.vocabulary_size > len(vocabulary):
        raise ValueError(f"the chooser knows {config.vocabulary_size} tokens, the vocabulary {len(vocabulary)}")
    if not all(value.isfinite().all() for value in weights.values()):
        raise ValueError("some of the chooser's weights are no numbers")
    with torch.device("meta"), Undrawn():
        chooser = Chooser(config)
    chooser.load_state_dict(weights, assign=True)
    return chooser.eval().requires_grad_(False)


def inherit_chooser(folder: Path, parent: Path) -> None:
    """Copy the chooser and the written responses of a checkpoint, where it has them, to one that goes on from it, whose
    first words are the same."""
    for name in (CHOOSER, RESPONSES):
        if (parent / name).is_file():
            shutil.copy(parent / name, folder / name)
