"""What a model makes of what people said: how well it foretells their responses, and which it takes for the right one.

Works for every kind of network. Shapes: N contexts, R responses, Q packed target tokens, S state, D utterance vector.
Knows ids only.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from chatbot.decoding.utterances import closed, encode_utterances, log_probabilities
from chatbot.model import HRED
from chatbot.processor import FreeCores
from data.batches import Batch, make_batch
from data.vocabulary import UNK

Ids = Sequence[int] | np.ndarray
Item = TypeVar("Item")
Track = Callable[[Sequence[Item], str], Iterable[Item]]  # goes through a sequence and shows how far it is

WINDOW = 40  # utterances; a longer dialogue is read in windows, the state beginning anew in each
_BATCH = 32  # windows
_ROWS = 256  # contexts, or replies, at a time
_CHUNK = 512  # rows of logits that exist at once


@dataclass(frozen=True, slots=True)
class Foretold:
    """Each response of a corpus, how surprising it was and how many of its tokens were guessed wrong; (R,) each.

    Tokens are words, punctuation, unknown words and the end of the response.
    """

    dialogue: np.ndarray
    turn: np.ndarray
    tokens: np.ndarray
    nats: np.ndarray  # - log p(response | state)
    nats_shuffled: np.ndarray  # the same, given the state of another dialogue; NaN where there was none
    errors: np.ndarray  # tokens that were not the likeliest after the true words before them


def straight(items: Sequence[Item], what: str) -> Iterable[Item]:
    """A `Track` that shows nothing."""
    return items


@torch.no_grad()
def foretell(
    model: HRED,
    dialogues: Sequence[Sequence[Ids]],
    random: np.random.Generator,
    track: Track[np.ndarray] = straight,
    known: int | None = None,
    shuffled: bool = True,
) -> Foretold:
    """Every utterance but the first of each dialogue, given the state tracked over the true ones before it; and, if
    `shuffled`, given another dialogue's.

    With `known`, the words from that id on count as unknown ones, so that two models of which one has learned more
    words can be compared.
    """
    windows = np.array(
        [
            (number, first)
            for number, dialogue in enumerate(dialogues)
            for first in range(0, len(dialogue) - 1, WINDOW - 1)
        ]
    ).reshape(-1, 2)
    windows = windows[random.permutation(len(windows))]  # so that a batch holds more than one long dialogue
    parts = np.array_split(windows, -(-len(windows) // _BATCH)) if len(windows) else []
    found, cores = [], FreeCores()
    for part in track(parts, "Foretelling responses"):
        cores.look()
        cut = [dialogues[number][first : first + WINDOW] for number, first in part]
        found.append(_foretell(model, cut, part, random, known, shuffled))
    columns = np.concatenate(found, axis=1) if found else np.zeros((6, 0))
    columns = columns[:, np.lexsort((columns[1], columns[0]))]
    dialogue, turn, tokens = columns[:3].astype(int)
    return Foretold(dialogue, turn, tokens, *columns[3:])


def _foretell(
    model: HRED,
    dialogues: Sequence[Sequence[Ids]],
    windows: np.ndarray,
    random: np.random.Generator,
    known: int | None,
    shuffled: bool,
) -> np.ndarray:
    """The columns of `Foretold` (6, R) of one batch of windows (dialogue, first utterance)."""
    order = sorted(range(len(dialogues)), key=lambda place: -len(dialogues[place]))  # as batches are, longest first
    batch = make_batch([[np.asarray(ids) for ids in dialogues[place]] for place in order])
    _, states = model.read(batch)
    before = states[batch.states]  # (R, S)
    row, turn = response_places(batch)
    dialogue, first = windows[order][row].T
    nats, errors = response_scores(model, batch, before, known)
    other = elsewhere(dialogue, random) if shuffled else None
    nats_shuffled = np.full(len(nats), np.nan)
    if other is not None:
        nats_shuffled, _ = response_scores(model, batch, before[torch.from_numpy(other)], known)
    tokens = _per_response(torch.ones(len(batch.targets)), batch)
    return np.stack([dialogue, first + turn, tokens, nats, nats_shuffled, errors])


def response_scores(
    model: HRED, batch: Batch, before: Tensor, known: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """- log p of each response of a batch and its wrongly guessed tokens, given the states (R, S): (R,) each."""
    readouts = model.write(batch.inputs, batch.response_sizes, before)
    nats, wrong = torch.empty(len(batch.targets)), torch.empty(len(batch.targets))
    for start in range(0, len(batch.targets), _CHUNK):
        rows = slice(start, start + _CHUNK)
        logits, targets = _as_known(model.logits(readouts[rows]), batch.targets[rows], known)
        nats[rows] = F.cross_entropy(logits, targets, reduction="none")
        wrong[rows] = (logits.argmax(dim=1) != targets).float()
    return _per_response(nats, batch), _per_response(wrong, batch)


def _as_known(logits: Tensor, targets: Tensor, known: int | None) -> tuple[Tensor, Tensor]:
    """Logits (Q, V) and targets (Q,) over the first `known` words; the others add to the unknown one's probability."""
    if known is None:
        return logits, targets
    unknown = torch.cat([logits[:, [UNK]], logits[:, known:]], dim=1).logsumexp(dim=1)
    logits = logits[:, :known].index_copy(1, torch.tensor([UNK]), unknown[:, None])
    return logits, targets.masked_fill(targets >= known, UNK)


def response_places(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The dialogue of the batch (longest first) and the turn in it of each response: (R,) each."""
    packed_turn = batch.turns.argsort()[batch.responses].numpy()
    starts = np.array([0, *accumulate(batch.turn_sizes)])
    turn = np.searchsorted(starts, packed_turn, side="right") - 1
    return packed_turn - starts[turn], turn


def elsewhere(dialogue: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """For each of R responses the place of one of another dialogue, all equally likely; None where there is but one."""
    if len(np.unique(dialogue)) < 2:
        return None
    order = np.argsort(dialogue, kind="stable")
    of_each = dialogue[order]
    first, last = (np.searchsorted(of_each, of_each, side=side) for side in ("left", "right"))
    others = (last + random.integers(0, len(order) - (last - first))) % len(order)
    result = np.empty_like(order)
    result[order] = order[others]
    return result


def hear(model: HRED, contexts: Sequence[Sequence[Ids]]) -> Tensor:
    """The states (N, S) of dialogues of which nothing but these utterances was said."""
    return torch.cat([_hear(model, contexts[start : start + _ROWS]) for start in range(0, len(contexts), _ROWS)])


@torch.no_grad()
def _hear(model: HRED, contexts: Sequence[Sequence[Ids]]) -> Tensor:
    states = model.initial_state(len(contexts))
    for turn in range(max(map(len, contexts))):
        rows = [row for row, utterances in enumerate(contexts) if turn < len(utterances)]
        states[rows] = model.listen(*closed([list(contexts[row][turn]) for row in rows]), states[rows])
    return states


@torch.no_grad()
def relevances(model: HRED, states: Tensor, replies: Sequence[Sequence[Ids]]) -> np.ndarray:
    """The relevance of K replies to each state: (N, S), N lists of K -> (N, K)."""
    found = []
    for start in range(0, len(replies), _ROWS):
        part = replies[start : start + _ROWS]
        vectors = encode_utterances(model, [list(ids) for row in part for ids in row])
        query = model.relevance_query(states[start : start + len(part)])  # (n, D)
        found.append(torch.einsum("nd,nkd->nk", query, vectors.view(len(part), -1, query.shape[1])))
    return torch.cat(found).double().numpy()


def pointwise_gains(model: HRED, states: Tensor, replies: Sequence[Sequence[Ids]]) -> np.ndarray:
    """log p(y|s) - log p(y) of K replies to each state, p(y) from a zero state: (N, S), N lists of K -> (N, K)."""
    every = [list(ids) for row in replies for ids in row]
    given = log_probabilities(model, states.repeat_interleave(len(replies[0]), dim=0), every)
    alone = log_probabilities(model, model.initial_state(1).expand(len(every), -1), every)
    return (given - alone).view(len(replies), -1).double().numpy()


def _per_response(values: Tensor, batch: Batch) -> np.ndarray:
    """Sums over the tokens of each response: (Q,) -> (R,)."""
    rows = torch.cat([torch.arange(size) for size in batch.response_sizes])
    return torch.zeros(len(batch.responses), dtype=torch.float64).index_add_(0, rows, values.double()).numpy()
