"""Replies a second of the engine, as ratios measured in one run: `python benchmarks/engine.py [CHECKPOINT]`.

Replies of 20 tokens, greedy and chosen among candidates, asked for one by one and by 8 and 64 conversations at once.
Random weights of the default sizes do as well as trained ones; a checkpoint is taken where one is named. Below stands
how many greedy replies a second the products of matrices alone would allow: those that the engine takes, of a whole
reply with the two utterances that are read for it, by the time it spends in them; and those of decoding only, were all
of them in the product that this processor does fastest, which answers would suffer from (see `chatbot.inference`).
"""

import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import cast
from unittest.mock import patch

import torch
from torch import Tensor

from chatbot.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from chatbot.engine import ChatEngine
from chatbot.inference import EXACT, ROUGH, Product, fastest
from chatbot.model import HRED, ModelConfig
from chatbot.recurrent import RecurrentLayer
from chatbot.reply import DEFAULT, GREEDY, Reply, ReplyRequest
from data.vocabulary import SPECIALS, Vocabulary

WORDS, TOKENS, ROUNDS = 12_000, 20, 3


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = load_checkpoint(sys.argv[1]) if len(sys.argv) > 1 else random_checkpoint(Path(scratch) / "random")
    print(f"{torch.get_num_threads()} threads, {len(checkpoint.vocabulary):,} tokens in the vocabulary")
    for name, decoding in {"greedy": GREEDY, f"best of {DEFAULT.candidates}": DEFAULT}.items():
        decoding = replace(decoding, min_tokens=TOKENS, max_tokens=TOKENS)
        with ChatEngine(checkpoint, decoding) as engine:
            replies_a_second(engine, conversations=1)  # warm up
            speeds = {size: measured(engine, size) for size in (1, 8, 64)}
        for size, speed in speeds.items():
            print(f"{name:>12}, {size:2} at once: {speed:7.1f} replies/s = {speed / speeds[1]:5.2f} x one by one")
        if decoding.method == "greedy":
            with ChatEngine(checkpoint, decoding) as engine:
                speed, share = share_of_products(engine, 64)
            print(f"{'its products':>12}, 64 at once: {speed / share:7.1f} replies/s; it reaches {share:.0%}")
            limit = replies_by_products_alone(checkpoint.model, 64)
            print(
                f"{'fastest ones':>12}, 64 at once: {limit:7.1f} replies/s; the engine reaches {speeds[64] / limit:.0%}"
            )


def measured(engine: ChatEngine, conversations: int) -> float:
    """The best of a few rounds: whatever else the machine does only makes it slower."""
    return max(replies_a_second(engine, conversations) for _ in range(ROUNDS))


def replies_a_second(engine: ChatEngine, conversations: int) -> float:
    """Each conversation asks for its next reply when it has the last."""
    turns = 8 if conversations == 1 else 2
    left = threading.Semaphore(0)

    def converse(request: ReplyRequest, turn: int) -> None:
        def next_turn(reply: Reply) -> None:
            if turn + 1 < turns:
                converse(replace(request, state=reply.state_after), turn + 1)
            else:
                left.release()

        engine.submit(request, lambda delta: None, next_turn)

    begin = time.perf_counter()
    for number in range(conversations):
        converse(ReplyRequest(f"w{number} w{number + 1} w{number + 2}", seed=number), 0)
    for _ in range(conversations):
        left.acquire()
    return conversations * turns / (time.perf_counter() - begin)


def share_of_products(engine: ChatEngine, conversations: int) -> tuple[float, float]:
    """-> replies a second, and the share of that time in which matrices are multiplied; of the best round."""
    inside = 0.0
    multiply = Product.__call__

    def timed(self: Product, rows: Tensor) -> Tensor:
        nonlocal inside
        begin = time.perf_counter()
        found: Tensor = multiply(self, rows)
        inside += time.perf_counter() - begin
        return found

    rounds = []
    with patch.object(Product, "__call__", timed):
        for _ in range(ROUNDS + 1):
            inside, begin = 0.0, time.perf_counter()
            speed = replies_a_second(engine, conversations)
            rounds.append((speed, inside / (time.perf_counter() - begin)))
    return max(rounds)


@torch.inference_mode()
def replies_by_products_alone(model: HRED, rows: int) -> float:
    """Greedy replies a second if a step were the products of its decoder and nothing else, best of some rounds."""
    product = fastest((*EXACT, *ROUGH))
    decoder, layer = model.decoder, cast(RecurrentLayer, model.decoder.rnn[0])
    words, hidden = decoder.word_to_readout.weight, decoder.hidden_to_readout.weight
    matrices = (layer.weight_ih, layer.weight_hh, words, hidden, model.embedding.weight)
    trials = [(product(matrix, torch.zeros(len(matrix))), torch.rand(rows, matrix.shape[1])) for matrix in matrices]
    seconds = []
    for _ in range(10 * ROUNDS):
        begin = time.perf_counter()
        for multiply, numbers in trials:
            multiply(numbers)
        seconds.append(time.perf_counter() - begin)
    return rows / (TOKENS + 1) / min(seconds)


def random_checkpoint(folder: Path) -> Checkpoint:
    torch.manual_seed(0)
    vocabulary = Vocabulary([*SPECIALS, *(f"w{number}" for number in range(WORDS - len(SPECIALS)))])
    return save_checkpoint(folder, HRED(ModelConfig(len(vocabulary))), vocabulary, {})


if __name__ == "__main__":
    main()
