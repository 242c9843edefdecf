"""The memory-mapped token store: dialogues of any number, opened in no time and never read whole.

A folder of three .npy files: `tokens.npy`, the ids of all utterances end to end; `utterances.npy`, where each utterance
begins in it; `dialogues.npy`, where each dialogue begins among the utterances. Knows no words, only ids.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np

_PARTS = ("tokens", "utterances", "dialogues")


class StoreError(ValueError):
    """A folder that is no token store; the message is one sentence."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenStore:
    """`tokens` (T,), `utterances` (U + 1,) offsets into them, `dialogues` (D + 1,) offsets into the utterances."""

    tokens: np.ndarray
    utterances: np.ndarray
    dialogues: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> "TokenStore":
        """Raises StoreError where the folder holds no store or a broken one."""
        try:
            # Plain views: np.memmap's own slices cost ten times as much, and a batch takes a thousand.
            parts = [
                np.lib.format.open_memmap(Path(folder) / f"{part}.npy", mode="r").view(np.ndarray) for part in _PARTS
            ]
        except (OSError, ValueError) as error:
            raise StoreError(f"{folder} is not a prepared corpus; make one with `chatbot prepare`.") from error
        store = cls(*parts)
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

    def every_other(self, first: int) -> "TokenStore":
        """A store, in memory, of every other dialogue from the `first` on: 0 or 1."""
        dialogues = [self[place] for place in range(first, len(self), 2)]
        utterances = [utterance for dialogue in dialogues for utterance in dialogue]
        tokens = np.concatenate([self.tokens[:0], *utterances])
        return TokenStore(tokens, _offsets(map(len, utterances)), _offsets(map(len, dialogues)))


def _offsets(lengths: Iterable[int]) -> np.ndarray:
    return np.cumsum([0, *lengths], dtype=np.int64)


class StoreWriter:
    """Writes a token store piece by piece; complete once closed. `dtype` is that of the token ids."""

    def __init__(self, folder: Path, dtype: np.typing.DTypeLike = np.int32) -> None:
        folder.mkdir(parents=True)
        self._tokens = _ArrayFile(folder / "tokens.npy", dtype)
        self._utterances = _ArrayFile(folder / "utterances.npy", np.int64)
        self._dialogues = _ArrayFile(folder / "dialogues.npy", np.int64)
        for offsets in (self._utterances, self._dialogues):
            offsets.append(np.zeros(1, np.int64))

    def extend(self, tokens: np.ndarray, utterance_lengths: np.ndarray, dialogue_lengths: np.ndarray) -> None:
        """Adds whole dialogues: ids end to end, tokens in each utterance, utterances in each dialogue."""
        self._utterances.append(self._tokens.length + np.cumsum(utterance_lengths, dtype=np.int64))
        self._dialogues.append(
            self._utterances.length - 1 - len(utterance_lengths) + np.cumsum(dialogue_lengths, dtype=np.int64)
        )
        self._tokens.append(tokens)

    def close(self) -> None:
        for file in (self._tokens, self._utterances, self._dialogues):
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
