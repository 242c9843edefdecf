"""What packing a checkpoint's products costs its replies: `python benchmarks/inference.py CHECKPOINT PREPARED`.

On dialogues of the test split that nobody has learned from: the perplexity of what people said, and in how many turns
the greedy reply is the same, word for word, with each way of multiplying. The first is that of the model in float32.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chatbot.checkpoint import load_checkpoint
from chatbot.decoding.offline import decode
from chatbot.inference import BRIEF, EXACT, ROUGH, Bfloat16Product, PackedHRED, PackedProduct, fastest
from chatbot.model import HRED
from chatbot.reply import GREEDY
from training.heldout import contexts_of, read_dialogues
from training.judges import encoded
from training.scoring import foretell, hear


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--dialogues", type=int, default=200, help="that are foretold")
    parser.add_argument("--turns", type=int, default=500, help="that are answered")
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.checkpoint)
    tokens = read_dialogues(options.prepared, lambda name, reason: None)
    dialogues = [encoded(checkpoint.vocabulary, utterances) for utterances in tokens[: options.dialogues]]
    heard = [context.utterances for context in contexts_of(dialogues, options.turns, seed=0)]
    chosen = [fastest(products).__name__ for products in (EXACT, BRIEF, (*EXACT, *ROUGH))]
    print(f"{checkpoint.id}, {len(dialogues)} dialogues, {len(heard)} turns; fastest here: {', '.join(chosen)}")
    plain, said = perplexity(checkpoint.model, dialogues), replies(checkpoint.model, heard)
    print(f"{'float32':>34}: perplexity {plain:.3f}")
    for brief in (PackedProduct, Bfloat16Product):
        for rough in ROUGH:
            packed = PackedHRED(checkpoint.model, PackedProduct, brief, rough)
            found = perplexity(packed, dialogues)
            same = np.mean([one == other for one, other in zip(said, replies(packed, heard), strict=True)])
            name = f"{brief.__name__} and {rough.__name__}"
            print(f"{name:>34}: perplexity {found:.3f} ({found / plain - 1:+.2%}), same greedy reply {same:.1%}")


def perplexity(model: HRED, dialogues: Sequence[Sequence[Sequence[int]]]) -> float:
    foretold = foretell(model, dialogues, np.random.default_rng(0), shuffled=False)
    return float(np.exp(foretold.nats.sum() / foretold.tokens.sum()))


def replies(model: HRED, heard: Sequence[Sequence[Sequence[int]]]) -> list[tuple[int, ...]]:
    """The states are heard by the same network that answers, as the engine does it."""
    return [found[0].ids for found in decode(model, hear(model, heard), GREEDY)]


if __name__ == "__main__":
    main()
