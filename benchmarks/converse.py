"""Ten conversations for a model card, as Markdown: which ones, and every reply, follows from the seed alone.

    python benchmarks/converse.py CHECKPOINT [SEED]

What the person says stands in conversations.txt and was written before any reply was read. The chatbot speaks for
itself: where the checkpoint has an index of human responses, nothing is taken from it.
"""

import random
import sys
from dataclasses import replace
from pathlib import Path

from chatbot.checkpoint import load_checkpoint
from chatbot.engine import ChatEngine
from chatbot.reply import DEFAULT, ReplyRequest

COUNT = 10


def conversation(engine: ChatEngine, lines: list[str], seed: int) -> list[str]:
    """What the person and the chatbot say in turn."""
    said: list[str] = []
    state = None
    for turn, line in enumerate(lines):
        reply = engine.reply(ReplyRequest(line, tuple(said), state, seed=1000 * seed + turn))
        said += [line, reply.text]
        state = reply.state_after
    return said


def main(checkpoint: str, seed: int = 0) -> None:
    written = (Path(__file__).parent / "conversations.txt").read_text("utf-8").strip().split("\n\n")
    drawn = random.Random(seed).sample(written, COUNT)
    with ChatEngine(load_checkpoint(checkpoint), replace(DEFAULT, retrieved=0)) as engine:
        for number, lines in enumerate(drawn, start=1):
            said = conversation(engine, lines.splitlines(), seed + number)
            print(f"### {number}\n")
            for person, chatbot in zip(said[::2], said[1::2], strict=True):
                print(f"> {person}  \n> **{chatbot}**  ")
            print()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
