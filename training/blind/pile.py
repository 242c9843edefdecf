"""A pile of replies to be read blind: of checkpoints, of people, and of people in other contexts, shuffled together."""

import json
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from chatbot.checkpoint import Checkpoint
from chatbot.engine import ChatEngine
from chatbot.reply import CONTEXT_TURNS, Reply, ReplyRequest
from data.cleaning import is_blank
from data.formats.dialogue import Dialogue

PERSON, STRANGER = "person", "random person"
FOR_READERS, FORM, KEY = "pile.txt", "marks.txt", "key.json"

Shown = Callable[[Sequence[int], str], Iterable[int]]


class Candidate(NamedTuple):
    """A reply as readers see it, and the systems that gave it, two of them where they said the same."""

    text: str
    systems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A context, the last utterance of which is to be answered, with the replies in the order in which they are read.

    `turn` is the place of the replies in the dialogue `id`, counted from 0.
    """

    id: str
    turn: int
    context: tuple[str, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Pile:
    """All that is to be read, and the id of the checkpoint behind each system that has one."""

    checkpoints: dict[str, str]
    items: tuple[Item, ...]


class Context(NamedTuple):
    """What was said before a turn, and what the person said there."""

    id: str
    turn: int
    utterances: tuple[str, ...]
    response: str


def draw_contexts(dialogues: Iterable[Dialogue], count: int, seed: int) -> list[Context]:
    """Up to `count` contexts, each of another dialogue: of an assistant's turn, where the dialogue has assistants."""
    random = np.random.default_rng(seed)
    with_turns = [(dialogue, turns) for dialogue in dialogues if (turns := _answers(dialogue))]
    chosen = (with_turns[place] for place in random.permutation(len(with_turns))[:count].tolist())
    return [_context(dialogue, turns[random.integers(len(turns))]) for dialogue, turns in chosen]


def _answers(dialogue: Dialogue) -> list[int]:
    """The turns that answer something and may be learned from: a fixed answer is nobody's own reply."""
    said, roles, weights = dialogue.utterances, dialogue.roles or (), dialogue.weights
    return [
        turn
        for turn in range(1, len(said))
        if ("assistant" not in roles or roles[turn] == "assistant")
        and (weights is None or weights[turn] > 0)
        and not is_blank(said[turn])
        and not is_blank(said[turn - 1])
    ]


def _context(dialogue: Dialogue, turn: int) -> Context:
    before = dialogue.utterances[max(0, turn - 1 - CONTEXT_TURNS) : turn]
    said = (_in_one_line(text) for text in before if not is_blank(text))
    return Context(dialogue.id, turn, tuple(said), _in_one_line(dialogue.utterances[turn]))


def make_pile(
    checkpoints: Mapping[str, Checkpoint],
    contexts: Sequence[Context],
    spare: Sequence[Context],
    seed: int,
    shown: Shown,
) -> Pile:
    """The pile of these contexts. Random people's replies come from `spare` contexts first: a reader who meets a reply
    twice would know it. `shown` hands places on and shows how many of them were taken.

    Raises RuntimeError with a sentence where a checkpoint cannot reply, ValueError where there are no other people.
    """
    random = np.random.default_rng(seed)
    said = {PERSON: [context.response for context in contexts], STRANGER: _strangers(contexts, spare)}
    said |= {name: _replies(name, checkpoint, contexts, seed, shown) for name, checkpoint in checkpoints.items()}
    items = [
        Item(*context[:3], _shuffled({name: texts[place] for name, texts in said.items()}, random))
        for place, context in enumerate(contexts)
    ]
    return Pile({name: checkpoint.id for name, checkpoint in checkpoints.items()}, tuple(items))


def _strangers(contexts: Sequence[Context], spare: Sequence[Context]) -> list[str]:
    """For each context the response to another one that reads differently; each is used once as far as they reach."""
    circle = [context.response for context in (*spare, *contexts)]
    found = []
    for place, context in enumerate(contexts):
        others = (text for text in circle[place:] + circle[:place] if text != context.response)
        found.append(next(others, ""))
    if not all(found):
        raise ValueError("Random people's replies take two conversations with different replies; give more of them.")
    return found


def _replies(name: str, checkpoint: Checkpoint, contexts: Sequence[Context], seed: int, shown: Shown) -> list[str]:
    """What a checkpoint replies as in the service, where a conversation is resumed from its texts."""
    texts, finished = [""] * len(contexts), queue.SimpleQueue[tuple[int, Reply]]()
    with ChatEngine(checkpoint) as engine:
        for place, (_, _, (*before, utterance), _) in enumerate(contexts):
            request = ReplyRequest(utterance, tuple(before), seed=seed + place)
            engine.submit(request, lambda delta: None, partial(_hand_over, finished, place))
        for _ in shown(range(len(contexts)), f"Replies of {name}"):
            place, reply = finished.get()
            if reply.status == "failed":
                raise RuntimeError(f"{name} could not answer: its checkpoint may be broken. Read another.")
            texts[place] = _in_one_line(reply.text)
    return texts


def _hand_over(finished: "queue.SimpleQueue[tuple[int, Reply]]", place: int, reply: Reply) -> None:
    finished.put((place, reply))


def _shuffled(said: Mapping[str, str], random: np.random.Generator) -> tuple[Candidate, ...]:
    """The different texts that systems said, in an order that says nothing."""
    texts = list(dict.fromkeys(said.values()))
    order = (texts[place] for place in random.permutation(len(texts)).tolist())
    return tuple(Candidate(text, tuple(name for name, own in said.items() if own == text)) for text in order)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place once all is written, or vanishes. Raises ValueError, OSError."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out} is there already; name a new folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as beside:
        folder = Path(beside) / "new"
        folder.mkdir()
        yield folder
        folder.rename(out)


def write_pile(pile: Pile, folder: Path) -> None:
    """Write the pile and the form for readers, and the key that readers must not see, into a folder that is there."""
    (folder / FOR_READERS).write_text("\n".join(_for_readers(pile)), encoding="utf-8")
    (folder / FORM).write_text("\n".join(_form(pile)), encoding="utf-8")
    (folder / KEY).write_text(json.dumps(asdict(pile), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_key(file: Path) -> Pile:
    """Read what `write_pile` kept. Raises ValueError with a sentence where it is damaged, OSError."""
    try:
        found = json.loads(file.read_text("utf-8"))
        items = [
            Item(
                str(one["id"]),
                int(one["turn"]),
                tuple(map(str, one["context"])),
                tuple(Candidate(str(text), tuple(map(str, systems))) for text, systems in one["candidates"]),
            )
            for one in found["items"]
        ]
        pile = Pile(dict(found["checkpoints"]), tuple(items))
        systems = {system for item in items for candidate in item.candidates for system in candidate.systems}
        if unknown := systems - {*pile.checkpoints, PERSON, STRANGER}:
            raise ValueError(f"{unknown} gave no reply")
        return pile
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{file} is not the key of a pile; make the pile anew, or give its own folder.") from error


def _for_readers(pile: Pile) -> Iterator[str]:
    yield f"{len(pile.items)} contexts, each with the replies that B might give next. marks.txt says how to mark them."
    for number, item in enumerate(pile.items, 1):
        yield from ("", "", f"---------- {number} ----------", "")
        last = len(item.context) - 1
        yield from (f"{'BA'[(last - place) % 2 == 0]}: {text}" for place, text in enumerate(item.context))
        yield ""
        yield from (f"   {place}. {candidate.text}" for place, candidate in enumerate(item.candidates, 1))
    yield ""


INSTRUCTION = """\
# How to mark the replies of pile.txt
#
# Read a context, then judge each of its replies by itself, as what B says next:
#
#   0   It does not make sense there: it is confused, beside the point, contradicts what was said, or is no language.
#   1   It is sensible: it makes complete sense just there.
#   2   It is sensible and specific: it also belongs to this context, and would not fit nearly any conversation.
#       "I see." or "That's nice." may be sensible, but is not specific.
#
# Be strict, and where you are in doubt take the lower mark. Do not guess who wrote a reply. Put * after the mark of the
# best reply of a context, if one of them is good. So a context with four replies may be marked:
#
#   12 (4 replies): 0 2* 1 0
#
# Save your copy as marks.NAME.txt, with your name for NAME, beside this file. Lines that begin with # are not read.
"""


def _form(pile: Pile) -> Iterator[str]:
    yield INSTRUCTION
    yield from (f"{number} ({len(item.candidates)} replies): " for number, item in enumerate(pile.items, 1))
    yield ""
