"""The memory-mapped token store: dialogues of any number, opened in no time and never read whole.

A folder of .npy files: `tokens.npy`, the ids of all utterances end to end; `utterances.npy`, where each utterance
begins in it; `dialogues.npy`, where each dialogue begins among the utterances; where they do not all weigh the same,
`weights.npy`, how much each utterance counts as a response; and, where it is known, `sources.npy`, which corpus each
dialogue is of. Knows no words, only ids.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np

_PARTS = ("tokens", "utterances", "dialogues")
_OPTIONAL_PARTS = ("weights", "sources")


class StoreError(ValueError):
    """A folder that is no token store; the message is one sentence."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenStore:
    """`tokens` (T,), `utterances` (U + 1,) offsets into them, `dialogues` (D + 1,) offsets into the utterances.

    `weights` (U,), or None where every response counts 1: at 0 an utterance is context and nothing else, below 0 it is
    a response not to be given. `sources` (D,) are numbers of corpora, or None where that is not known.
    """

    tokens: np.ndarray
    utterances: np.ndarray
    dialogues: np.ndarray
    weights: np.ndarray | None = None
    sources: np.ndarray | None = None

    @classmethod
    def open(cls, folder: Path) -> "TokenStore":
        """Raises StoreError where the folder holds no store or a broken one."""
        try:
            parts = [_mapped(Path(folder) / f"{part}.npy") for part in _PARTS]
            files = [Path(folder) / f"{part}.npy" for part in _OPTIONAL_PARTS]
            parts_or_none = [_mapped(file) if file.is_file() else None for file in files]
        except (OSError, ValueError) as error:
            raise StoreError(f"{folder} is not a prepared corpus; make one with `chatbot prepare`.") from error
        store = cls(*parts, *parts_or_none)
        if not store._is_whole():
            raise StoreError(f"{folder} is damaged; make it again with `chatbot prepare`.")
        return store

    def _is_whole(self) -> bool:
        """Whether the offsets lead from the beginning to the end of what they divide."""
        offsets = (self.utterances, self.dialogues)
        return bool(
            all(part.ndim == 1 for part in (self.tokens, *offsets))
            and all(part.size and part[0] == 0 for part in offsets)
            and self.utterances[-1] == len(self.tokens)
            and self.dialogues[-1] == len(self.utterances) - 1
            and (self.weights is None or self.weights.shape == (len(self.utterances) - 1,))
            and (self.sources is None or self.sources.shape == (len(self.dialogues) - 1,))
        )

    def __len__(self) -> int:
        return len(self.dialogues) - 1

    def __getitem__(self, place: int) -> list[np.ndarray]:
        """The utterances of one dialogue, each an array of ids. Raises IndexError beyond the last."""
        if not 0 <= place < len(self):
            raise IndexError(f"no dialogue {place} among {len(self)}")
        first, last = self.dialogues[place], self.dialogues[place + 1]
        bounds = self.utterances[first : last + 1]
        return [self.tokens[start:end] for start, end in pairwise(bounds)]

    def weights_of(self, place: int) -> np.ndarray | None:
        """How much each utterance of one dialogue counts as a response; None where all count 1."""
        if self.weights is None:
            return None
        return self.weights[self.dialogues[place] : self.dialogues[place + 1]]

    @property
    def responses(self) -> int:
        """How many utterances answer another and are there to be learned from or judged by."""
        return int(np.count_nonzero(self._is_response()))

    @property
    def target_tokens(self) -> int:
        """The words of all responses, and their ends."""
        return int((np.diff(self.utterances) + 1)[self._is_response()].sum())

    def _is_response(self) -> np.ndarray:
        is_response = np.ones(len(self.utterances) - 1, bool)
        is_response[self.dialogues[:-1]] = False
        return is_response if self.weights is None else is_response & (self.weights != 0)

    def every_other(self, first: int) -> "TokenStore":
        """A store, in memory, of every other dialogue from the `first` on: 0 or 1."""
        dialogues = [self[place] for place in range(first, len(self), 2)]
        utterances = [utterance for dialogue in dialogues for utterance in dialogue]
        tokens = np.concatenate([self.tokens[:0], *utterances])
        sources = None if self.sources is None else self.sources[first::2]
        return TokenStore(tokens, _offsets(map(len, utterances)), _offsets(map(len, dialogues)), sources=sources)


def _mapped(path: Path) -> np.ndarray:
    """A plain view: np.memmap's own slices cost ten times as much, and a batch takes a thousand."""
    return np.lib.format.open_memmap(path, mode="r").view(np.ndarray)


def _offsets(lengths: Iterable[int]) -> np.ndarray:
    return np.cumsum([0, *lengths], dtype=np.int64)


class StoreWriter:
    """Writes a token store piece by piece; complete once closed. `dtype` is that of the token ids; with `weighted`,
    utterances have weights."""

    def __init__(self, folder: Path, dtype: np.typing.DTypeLike = np.int32, weighted: bool = False) -> None:
        folder.mkdir(parents=True)
        self._tokens = _ArrayFile(folder / "tokens.npy", dtype)
        self._utterances = _ArrayFile(folder / "utterances.npy", np.int64)
        self._dialogues = _ArrayFile(folder / "dialogues.npy", np.int64)
        self._weights = _ArrayFile(folder / "weights.npy", np.float32) if weighted else None
        for offsets in (self._utterances, self._dialogues):
            offsets.append(np.zeros(1, np.int64))

    def extend(
        self,
        tokens: np.ndarray,
        utterance_lengths: np.ndarray,
        dialogue_lengths: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> None:
        """Adds whole dialogues: ids end to end, tokens in each utterance, utterances in each dialogue, and how much
        each utterance counts (1 where that is not said)."""
        self._utterances.append(self._tokens.length + np.cumsum(utterance_lengths, dtype=np.int64))
        self._dialogues.append(
            self._utterances.length - 1 - len(utterance_lengths) + np.cumsum(dialogue_lengths, dtype=np.int64)
        )
        self._tokens.append(tokens)
        if self._weights is not None:
            self._weights.append(np.ones(len(utterance_lengths)) if weights is None else weights)

    def close(self) -> None:
        for file in (self._tokens, self._utterances, self._dialogues, self._weights):
            if file is not None:
                file.close()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _ArrayFile:
    """A .npy file of one dimension that grows; numpy leaves room in the header for the length to be written last."""

    def __init__(self, path: Path, dtype: np.typing.DTypeLike) -> None:
        self._file = path.open("wb")
        self._dtype = np.dtype(dtype)
        self.length = 0
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        self._file.write(values.astype(self._dtype, copy=False).tobytes())
        self.length += len(values)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self._file, header)
