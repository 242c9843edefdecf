"""What a checkpoint is judged by: dialogues it has not seen, as tokens, so that any vocabulary can encode them.

Tokens of a prepared folder that its own vocabulary does not hold stay unknown to everybody.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from chatbot.checkpoint import Checkpoint
from chatbot.reply import CONTEXT_TURNS
from data.corpus import Corpus, DocumentError
from data.formats.dialogue import Dialogue
from data.formats.reader import DialogueReader
from data.preparation import clean
from data.store import TokenStore
from data.tokenizer import detokenise
from data.vocabulary import UNK
from training.train import vocabulary_of

Tokens = Sequence[str]
Utterance = TypeVar("Utterance")


class Context(NamedTuple):
    """What was said before a response, at most CONTEXT_TURNS utterances, and the response a person gave."""

    utterances: list[Any]
    response: Any
    dialogue: int
    turn: int


def read_dialogues(corpus: Path, on_bad: Callable[[str, str], None]) -> list[list[Tokens]]:
    """Dialogues of two utterances or more: of a prepared folder the test split, of any other corpus all that cleaning
    keeps. `on_bad(name, reason)` hears of files and lines that cannot be read.

    Raises ValueError with a sentence where there is no such dialogue.
    """
    if not corpus.exists():
        raise ValueError(f"{corpus} does not exist; give chat JSONL or what `chatbot prepare` made of a corpus.")
    is_prepared = (corpus / "vocabulary.json").is_file()
    dialogues = list(_prepared(corpus) if is_prepared else _read(corpus, on_bad))
    if not dialogues:
        where = f"The test split of {corpus}" if is_prepared else str(corpus)
        raise ValueError(f"{where} holds no dialogue of two utterances or more to judge by; give another corpus.")
    return dialogues


def demand_shared_words(checkpoint: Checkpoint, utterances: Iterable[Tokens], part: str = "checkpoint") -> None:
    """Raises ValueError with a sentence where most tokens are unknown to the checkpoint, which makes figures a fraud:
    nothing is foretold as well as that a word will be unknown. `part` is what it plays, as the user knows it."""
    ids = [checkpoint.vocabulary.id_of(token) for tokens in utterances for token in tokens]
    if ids.count(UNK) > len(ids) / 2:
        known = 1 - ids.count(UNK) / len(ids)
        raise ValueError(
            f"The vocabulary of {checkpoint.id} holds {known:.0%} of the words of this corpus only; "
            f"give a corpus in the language that the {part} learned."
        )


def contexts_of(dialogues: Sequence[Sequence[Utterance]], count: int, seed: int) -> list[Context]:
    """Up to `count` of the responses in dialogues (or a token store), drawn by the seed, in the order they stand in."""
    lengths = [len(dialogues[place]) for place in range(len(dialogues))]
    turns = [(place, turn) for place, length in enumerate(lengths) for turn in range(1, length)]
    drawn = np.random.default_rng(seed).permutation(len(turns))[:count]
    contexts = []
    for place, turn in (turns[number] for number in sorted(drawn.tolist())):
        utterances = list(dialogues[place])
        contexts.append(Context(utterances[max(0, turn - CONTEXT_TURNS) : turn], utterances[turn], place, turn))
    return contexts


def rivals(contexts: Sequence[Context], count: int, random: np.random.Generator) -> np.ndarray | None:
    """For each of N contexts of tokens the places of `count` others, of as many other dialogues, whose responses all
    read differently, from its own and from each other: (N, count). None where there are not enough of them.
    """
    texts = [detokenise(context.response).lower() for context in contexts]
    circle = random.permutation(len(contexts)).tolist()  # each takes those that stand after it, so all are used alike
    found = np.empty((len(contexts), count), dtype=int)
    for start, place in enumerate(circle):
        dialogues, said = {contexts[place].dialogue}, {texts[place]}
        picked: list[int] = []
        for other in chain(circle[start:], circle[:start]):
            if contexts[other].dialogue not in dialogues and texts[other] not in said:
                dialogues.add(contexts[other].dialogue)
                said.add(texts[other])
                picked.append(other)
                if len(picked) == count:
                    break
        else:
            return None
        found[place] = picked
    return found


def _prepared(folder: Path) -> Iterator[list[Tokens]]:
    """The test split of the dialogues or, where there are none, as in corpora for translation, of the pairs."""
    tokens = vocabulary_of(folder).tokens
    dialogues, pairs = (TokenStore.open(folder / kind / "test") for kind in ("dialogues", "pairs"))
    store = dialogues if len(dialogues) else pairs
    for number in range(len(store)):
        yield [[tokens[place] for place in utterance] for utterance in store[number]]


def _read(corpus: Path, on_bad: Callable[[str, str], None]) -> Iterator[list[Tokens]]:
    dropped = Counter[str]()
    for dialogue in raw_dialogues(corpus, on_bad):
        yield from map(list, clean(dialogue, dropped))


def raw_dialogues(corpus: Path, on_bad: Callable[[str, str], None]) -> Iterator[Dialogue]:
    """Every dialogue of a corpus as it is written there. `on_bad(name, reason)` hears of what cannot be read."""
    reader, dropped = DialogueReader(), Counter[str]()
    for document in Corpus([corpus], on_bad).documents():
        try:
            for one in reader.read(document):
                yield from [one] if isinstance(one, Dialogue) else one.dialogues(dropped)
        except DocumentError as error:
            on_bad(document.name, str(error))
    for name, reason in reader.left_over():
        on_bad(name, reason)
    for source, reasons in reader.dropped.items():
        for reason, count in reasons.items():
            on_bad(source, f"{reason} ({count:,})")
