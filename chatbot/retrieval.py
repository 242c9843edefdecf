"""What people answered elsewhere, as further candidates: found by relevance, scored as any other, taken if they win.

An index is made for one checkpoint from the training dialogues of a prepared folder, never from conversations, and lies
in the checkpoint's folder:

    responses/index.json             {"format": 1, "checkpoint": its id, "responses": N}
    responses/responses.safetensors  ids of all responses end to end, where each begins, the projection of their vectors
    responses/vectors.faiss          the projected vectors, a byte a number

A relevance is the product of W s with an utterance vector, and a trained W has little rank. So vectors are kept
projected on its largest left singular vectors, 64 numbers of 768 in the shipped checkpoint, which order responses as
the whole vectors do; those are searched exactly.

Shapes: n states, N responses, S state, D utterance vector, P projected.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from chatbot.checkpoint import Checkpoint, CheckpointError
from chatbot.decoding import encode_utterances
from chatbot.model import HRED
from data.store import TokenStore
from data.tokenizer import JOINER
from data.vocabulary import UNK, Vocabulary

FOLDER = "responses"
SHORTEST, LONGEST = 4, 30  # tokens; what is shorter the model says as well, what is longer is a tale of somebody's own
_FORMAT = 1
_PROJECTED = 64
_BATCH = 256
_SPARE = 4  # as many are looked at for each that is asked for, since some name what was not spoken of

Track = Callable[[Sequence[int], str], Iterable[int]]  # goes through a sequence and shows how far it is


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """`tokens` (T,) and `offsets` (N + 1,) hold the ids, `projection` (D, P) leads to the vectors of `index`.

    `is_name` (V,) marks tokens that tell whom or what somebody spoke of: names and numbers.
    """

    model: HRED
    tokens: np.ndarray
    offsets: np.ndarray
    projection: np.ndarray
    index: Any  # faiss.Index
    is_name: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, place: int) -> tuple[int, ...]:
        return tuple(self.tokens[self.offsets[place] : self.offsets[place + 1]].tolist())

    def find(
        self, states: Tensor, earlier: Sequence[Sequence[Sequence[int]]], count: int
    ) -> list[list[tuple[int, ...]]]:
        """Up to `count` responses to each of the states (n, S), most relevant first.

        A name or a number in them must have been said `earlier` in the same dialogue: whatever else somebody named in
        the corpus belonged to another life.
        """
        import faiss

        faiss.omp_set_num_threads(1)  # a second pool of threads would be in the way of the model's
        query = self.model.relevance_query(states).numpy() @ self.projection  # (n, P)
        _, places = self.index.search(query, min(len(self), _SPARE * count))
        found = []
        for row, utterances in zip(places.tolist(), earlier, strict=True):
            named = {token for ids in utterances for token in ids}
            fit = (self[place] for place in row if place >= 0)
            found.append([ids for ids in fit if all(token in named for token in ids if self.is_name[token])][:count])
        return found


def open_responses(checkpoint: Checkpoint) -> Responses | None:
    """The index in a checkpoint's folder, if there is one.

    Raises CheckpointError where it is damaged or was made for another checkpoint.
    """
    folder = checkpoint.folder / FOLDER
    if not folder.is_dir():
        return None
    import faiss

    try:
        about = json.loads((folder / "index.json").read_text("utf-8"))
        parts = load_file(folder / "responses.safetensors")
        index = faiss.read_index(str(folder / "vectors.faiss"))
        if about["format"] != _FORMAT or not index.ntotal == about["responses"] == len(parts["offsets"]) - 1:
            raise ValueError("its parts are not of one index")
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(_useless(folder, "is damaged or of another version")) from error
    if about["checkpoint"] != checkpoint.id:
        raise CheckpointError(_useless(folder, "was made for another checkpoint"))
    return Responses(checkpoint.model, **parts, index=index, is_name=_names(checkpoint.vocabulary))


def index_responses(checkpoint: Checkpoint, prepared: Path, track: Track = lambda items, _: items) -> int:
    """Makes the index of a checkpoint from the training dialogues of a prepared folder; how many responses it holds.

    Raises CheckpointError where the checkpoint can look nothing up, StoreError or OSError where the folder is not
    prepared, ValueError where no response in it is fit.
    """
    import faiss

    model = checkpoint.model
    if not model.has_relevance:
        raise CheckpointError("A language model cannot tell which response is relevant; name another checkpoint.")
    known = Vocabulary.load(prepared / "vocabulary.json").tokens
    renumbered = np.array([checkpoint.vocabulary.id_of(token) for token in known])
    responses = fit_responses(TokenStore.open(prepared / "dialogues" / "train"), renumbered)
    if not responses:
        raise ValueError(f"No response in {prepared} is fit to be given again; prepare more dialogues.")
    left = torch.linalg.svd(model.relevance_map.weight.double(), full_matrices=False)[0]  # (D, min(D, S))
    projection = left[:, :_PROJECTED].float()
    vectors = np.concatenate(
        [
            (encode_utterances(model, responses[start : start + _BATCH]) @ projection).numpy()
            for start in track(range(0, len(responses), _BATCH), "Encoding responses")
        ]
    )
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    parts = {
        "tokens": np.concatenate([np.array(ids, np.int32) for ids in responses]),
        "offsets": np.cumsum([0, *map(len, responses)], dtype=np.int64),
        "projection": np.ascontiguousarray(projection.numpy()),
    }
    _save(checkpoint, parts, index)
    return len(responses)


def fit_responses(store: TokenStore, renumbered: np.ndarray) -> list[tuple[int, ...]]:
    """The different utterances that answer another and can be said again, shortest first, under new ids."""
    lengths = np.diff(store.utterances)
    answers = np.ones(len(lengths), dtype=bool)
    answers[store.dialogues[:-1]] = False
    found = set()
    for place in np.flatnonzero(answers & (lengths >= SHORTEST) & (lengths <= LONGEST)):
        ids = renumbered[store.tokens[store.utterances[place] : store.utterances[place + 1]]]
        if UNK not in ids:
            found.add(tuple(ids.tolist()))
    return sorted(found, key=lambda ids: (len(ids), ids))


def _names(vocabulary: Vocabulary) -> np.ndarray:
    """(V,) which tokens are numbers, or written with a capital in the middle of a sentence, but for the word I."""
    cores = [token.strip(JOINER) for token in vocabulary.tokens]
    return np.array(
        [
            any(map(str.isdigit, core)) or (core[:1].isupper() and core != "I" and not core.startswith("I'"))
            for core in cores
        ]
    )


def _save(checkpoint: Checkpoint, parts: dict[str, np.ndarray], index: Any) -> None:
    """Writes an index beside its place and moves it there whole; one that stood there is replaced."""
    import faiss

    place = checkpoint.folder / FOLDER
    with tempfile.TemporaryDirectory(dir=checkpoint.folder, prefix=f".{FOLDER}-") as scratch:
        fresh = Path(scratch) / FOLDER
        fresh.mkdir()
        save_file(parts, fresh / "responses.safetensors")
        (fresh / "responses.safetensors").chmod(0o644)  # safetensors makes it its owner's alone
        faiss.write_index(index, str(fresh / "vectors.faiss"))
        about = {"format": _FORMAT, "checkpoint": checkpoint.id, "responses": index.ntotal}
        (fresh / "index.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if place.exists():
            place.rename(Path(scratch) / "replaced")
        fresh.rename(place)


def _useless(folder: Path, why: str) -> str:
    return f"The index of responses in {folder} {why}; make it anew with `chatbot models index` or delete it."
