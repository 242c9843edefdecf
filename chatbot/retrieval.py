"""What people answered elsewhere, as further candidates: found by relevance, scored as any other, taken if they win.

An index is made for one checkpoint from the training dialogues of a prepared folder, never from conversations. It is
its owner's alone and part of no checkpoint, for it holds a corpus's text; `$CHATBOT_HOME/responses/ID.safetensors`:

    tokens, offsets   ids of all responses end to end, and where each begins
    vectors           of each response, projected
    projection        of an utterance vector

A relevance is the product of W s with an utterance vector, and a trained W has little rank. So vectors are kept
projected on its largest left singular vectors: 96 numbers of 768 in the shipped checkpoint, which hold 97 % of W's
square. The projected ones are searched exactly.

Shapes: n states, N responses, S state, D utterance vector, P projected.
"""

import json
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from chatbot.checkpoint import Checkpoint
from chatbot.decoding.reuse import can_be_said, names_of
from chatbot.decoding.stepping import UNKNOWN_SPEECH
from chatbot.decoding.utterances import encode_utterances
from chatbot.home import home
from chatbot.model import HRED
from chatbot.processor import FreeCores, autocast, fastest_precision
from chatbot.shelf import CheckpointError
from data.store import TokenStore
from data.vocabulary import UNK, Speech, Vocabulary

PERMISSIVE = ("chitchat", "written", "self_dialogue", "synthetic_persona_chat")  # MIT, MIT, BSD 3-Clause, CC BY 4.0
SHORTEST, LONGEST = 4, 30  # tokens; what is shorter the model says as well, what is longer is a tale of somebody's own
_FORMAT = "1"
_PROJECTED = 96
_BATCH = 256
_SPARE = 4  # as many are looked at for each that is asked for, since some name what was not spoken of

Track = Callable[[Sequence[int], str], Iterable[int]]  # goes through a sequence and shows how far it is


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """`tokens` (T,) and `offsets` (N + 1,) hold the ids, `projection` (D, P) leads to the vectors of `index`.

    `is_name` (V,) marks tokens that tell whom or what somebody spoke of: names and numbers. `speech` tells what nobody
    would say.
    """

    model: HRED
    tokens: np.ndarray
    offsets: np.ndarray
    projection: np.ndarray
    index: Any  # faiss.Index
    is_name: np.ndarray
    speech: Speech

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, place: int) -> tuple[int, ...]:
        return tuple(self.tokens[self.offsets[place] : self.offsets[place + 1]].tolist())

    def find(
        self, states: Tensor, earlier: Sequence[Sequence[Sequence[int]]], count: int
    ) -> list[list[tuple[int, ...]]]:
        """Up to `count` responses to each of the states (n, S), most relevant first.

        A name or a number in them must have been said `earlier` in the same dialogue: whatever else somebody named in
        the corpus belonged to another life. None is found to an utterance most of whose words are unknown.
        """
        query = self.model.relevance_query(states).numpy() @ self.projection  # (n, P)
        _, places = self.index.search(query, min(len(self), _SPARE * count))
        found = []
        for row, utterances in zip(places.tolist(), earlier, strict=True):
            near = () if self._is_mostly_unknown(utterances) else (self[place] for place in row)
            fit = (ids for ids in near if can_be_said(ids, utterances, self.is_name, self.speech))
            found.append(list(islice(fit, count)))
        return found

    def _is_mostly_unknown(self, earlier: Sequence[Sequence[int]]) -> bool:
        """Whether most words of the last utterance are unknown, so that nothing can be said of what it means."""
        last = [token for ids in earlier[-1:] for token in ids]
        return last.count(UNK) > sum(token in self.speech.words for token in last)


def index_file(checkpoint: Checkpoint) -> Path:
    """Where the index of a checkpoint is, if there is one; without the file it answers by itself."""
    return home() / "responses" / f"{checkpoint.id}.safetensors"


def index_stamp(checkpoint: Checkpoint) -> tuple[int, int] | None:
    """Return what differs once the index of a checkpoint is another; None where it has none."""
    try:
        found = index_file(checkpoint).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def open_responses(checkpoint: Checkpoint) -> Responses | None:
    """The index of a checkpoint, if there is one.

    Raises CheckpointError where it is damaged or was made for another checkpoint.
    """
    file = index_file(checkpoint)
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="np") as content:
            about = content.metadata() or {}
            parts = {name: content.get_tensor(name) for name in ("tokens", "offsets", "vectors", "projection")}
        if about.get("format") != _FORMAT or not _is_whole(checkpoint, **parts):
            raise ValueError("its parts are not those of one index")
    except (ValueError, LookupError, TypeError, OSError, SafetensorError) as error:
        raise CheckpointError(_useless(file, "is damaged or of another version")) from error
    if about.get("checkpoint") != checkpoint.id:
        raise CheckpointError(_useless(file, "was made for another checkpoint"))
    index = _nearest(parts.pop("vectors").astype(np.float32))
    return Responses(
        checkpoint.model,
        **parts,
        index=index,
        is_name=names_of(checkpoint.vocabulary),
        speech=checkpoint.vocabulary.speech(),
    )


def _is_whole(
    checkpoint: Checkpoint, tokens: np.ndarray, offsets: np.ndarray, vectors: np.ndarray, projection: np.ndarray
) -> bool:
    """Whether the parts fit each other and the checkpoint, so that no search can go astray."""
    width = projection.shape[-1]
    return bool(
        tokens.dtype == np.int32
        and offsets.dtype == np.int64
        and vectors.dtype == np.float16
        and projection.dtype == np.float32
        and tokens.ndim == 1
        and vectors.shape == (len(offsets) - 1, width)
        and projection.shape == (checkpoint.model.config.vector_size, width)
        and len(vectors)
        and offsets[0] == 0
        and offsets[-1] == len(tokens)
        and (np.diff(offsets) >= SHORTEST).all()
        and tokens.min() > UNK
        and tokens.max() < len(checkpoint.vocabulary)
        and np.isfinite(vectors).all()
        and np.isfinite(projection).all()
    )


def _nearest(vectors: np.ndarray) -> Any:
    """(N, P) -> an index that finds the largest inner products, exactly; two bytes a number."""
    import faiss  # here, for most have no index

    faiss.omp_set_num_threads(1)  # a second pool of threads would be in the way of the model's
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index


def index_responses(
    checkpoint: Checkpoint,
    prepared: Path,
    sources: Collection[str] = PERMISSIVE,
    track: Track = lambda items, _: items,
) -> int:
    """Makes the index of a checkpoint from the training dialogues of a prepared folder; how many responses it holds.

    Raises ValueError with a sentence where the folder is not prepared, holds dialogues of other `sources` or nothing
    that is fit, or the checkpoint can look nothing up.
    """
    if not checkpoint.model.has_relevance:
        raise CheckpointError("A language model cannot tell which response is relevant; name another checkpoint.")
    _check_sources(prepared, sources)
    known = Vocabulary.load(prepared / "vocabulary.json").tokens
    store = TokenStore.open(prepared / "dialogues" / "train")
    if store.tokens.size and store.tokens.max() >= len(known):
        raise ValueError(f"The dialogues in {prepared} are of another vocabulary than its own; prepare it again.")
    renumbered = np.array([checkpoint.vocabulary.id_of(token) for token in known])
    responses = fit_responses(store, renumbered, checkpoint.vocabulary.speech())
    if not responses:
        raise ValueError(f"No response in {prepared} is fit to be given again; prepare more dialogues.")
    _index(checkpoint, responses, track)
    return len(responses)


def inherit_responses(checkpoint: Checkpoint, parent: Checkpoint, track: Track = lambda items, _: items) -> None:
    """Makes the index of a checkpoint that goes on from `parent`, whose words are its first ones, if that has one."""
    if responses := open_responses(parent):
        _index(checkpoint, [responses[place] for place in range(len(responses))], track)


@torch.no_grad()
def _index(checkpoint: Checkpoint, responses: Sequence[tuple[int, ...]], track: Track) -> None:
    model = checkpoint.model
    left = torch.linalg.svd(model.relevance_map.weight.double(), full_matrices=False)[0]  # (D, min(D, S))
    projection = left[:, :_PROJECTED].float()
    starts, cores, vectors = track(range(0, len(responses), _BATCH), "Encoding responses"), FreeCores(), []
    for start in starts:
        cores.look()
        vectors.append(_project(model, responses[start : start + _BATCH], projection))
    parts = {
        "tokens": np.concatenate([np.array(ids, np.int32) for ids in responses]),
        "offsets": np.cumsum([0, *map(len, responses)], dtype=np.int64),
        "vectors": np.concatenate(vectors),
        "projection": np.ascontiguousarray(projection.numpy()),
    }
    _save(checkpoint, parts)


def _project(model: HRED, responses: Sequence[Sequence[int]], projection: Tensor) -> np.ndarray:
    """(n, P) in float16; products in bfloat16 too are good enough to find what is then scored."""
    with autocast(fastest_precision()):
        vectors = encode_utterances(model, responses)
    return (vectors.float() @ projection).half().numpy()


def _check_sources(prepared: Path, allowed: Collection[str]) -> None:
    """Raises ValueError where dialogues of others than the allowed sources were prepared, or conversations."""
    from chatbot.history import SOURCE

    try:
        kept = json.loads((prepared / "report.json").read_text("utf-8"))["kept"]
        # Dialogues of two utterances are kept apart, as pairs; a source of nothing else has none that could be taken.
        found = {name for name, sizes in kept.items() if sizes["utterances"] > 2 * sizes["dialogues"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{prepared} is not a prepared folder; make one with `chatbot prepare`.") from error
    if SOURCE in found:
        raise ValueError(
            f"{prepared} holds users' conversations, which nobody else may read; prepare a folder without."
        )
    if others := sorted(found - set(allowed)):
        raise ValueError(
            f"{prepared} also holds {', '.join(others)}, which replies would repeat word for word; if the licence "
            f"allows that, add {' '.join(f'--source {name}' for name in others)}, else prepare a folder without."
        )


def fit_responses(store: TokenStore, renumbered: np.ndarray, speech: Speech = UNKNOWN_SPEECH) -> list[tuple[int, ...]]:
    """The different utterances that answer another and can be said again, shortest first, under new ids. Where any ends
    otherwise, those that end with a word after which a sentence lacks its mark are left out."""
    lengths = np.diff(store.utterances)
    answers = np.ones(len(lengths), dtype=bool)
    answers[store.dialogues[:-1]] = False
    found = set()
    for place in np.flatnonzero(answers & (lengths >= SHORTEST) & (lengths <= LONGEST)):
        ids = tuple(renumbered[store.tokens[store.utterances[place] : store.utterances[place + 1]]].tolist())
        if not speech.spoils(ids):
            found.add(ids)
    marked = {ids for ids in found if ids[-1] not in speech.words}
    return sorted(marked or found, key=lambda ids: (len(ids), ids))


def _save(checkpoint: Checkpoint, parts: dict[str, np.ndarray]) -> None:
    """Writes an index beside its place and moves it there whole; one that stood there is replaced."""
    place = index_file(checkpoint)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{checkpoint.id}-") as scratch:
        fresh = Path(scratch) / place.name
        save_file(parts, fresh, {"format": _FORMAT, "checkpoint": checkpoint.id})
        fresh.chmod(0o644)  # safetensors makes it its owner's alone; a server may be another user
        fresh.replace(place)


def _useless(file: Path, why: str) -> str:
    return f"The index of responses in {file} {why}; make it anew with `chatbot models index` or delete it."
