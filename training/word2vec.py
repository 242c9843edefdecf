"""Where words start from: skip-gram vectors (Mikolov et al., 2013) of the prepared corpora, trained by gensim."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gensim.models import Word2Vec
from gensim.models.callbacks import CallbackAny2Vec

from data.store import TokenStore
from data.vocabulary import SPECIALS, Vocabulary

_WINDOW = 5
_CORPORA = ("pairs", "dialogues")


def train_word2vec(
    prepared: Path, vocabulary: Vocabulary, out: Path, size: int, epochs: int, on_epoch: Callable[[int], None]
) -> None:
    """Trains on the training splits with all cores and writes `out` in word2vec's binary form, whole or not at all.

    Raises ValueError where the corpora hold no known word.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".word2vec-") as scratch:
        text = Path(scratch) / "utterances.txt"
        with text.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in _utterances(prepared, vocabulary))
        if not text.stat().st_size:
            raise ValueError(f"{prepared} holds no words to learn vectors from; prepare more dialogues.")
        model = Word2Vec(
            corpus_file=str(text),
            vector_size=size,
            window=_WINDOW,
            sg=1,
            min_count=1,
            epochs=epochs,
            workers=os.cpu_count() or 1,
            callbacks=[_EachEpoch(on_epoch)],
        )
        fresh = Path(scratch) / "vectors.bin"
        model.wv.save_word2vec_format(str(fresh), binary=True)
        fresh.replace(out)


class _EachEpoch(CallbackAny2Vec):
    def __init__(self, on_epoch: Callable[[int], None]) -> None:
        self._on_epoch, self._done = on_epoch, 0

    def on_epoch_end(self, model: Word2Vec) -> None:
        self._done += 1
        self._on_epoch(self._done)


def _utterances(prepared: Path, vocabulary: Vocabulary) -> Iterator[str]:
    """One line an utterance, unknown words left out."""
    for corpus in _CORPORA:
        store = TokenStore.open(prepared / corpus / "train")
        for dialogue in range(len(store)):
            for utterance in store[dialogue]:
                line = " ".join(vocabulary.tokens[token] for token in utterance if token >= len(SPECIALS))
                if line:
                    yield line
