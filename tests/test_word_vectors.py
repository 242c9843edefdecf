import numpy as np
import pytest
from gensim.models import KeyedVectors

from data.vocabulary import PAD, SPECIALS, Vocabulary
from data.word_vectors import GLOVE_PACKAGE, embeddings_for, load_word_vectors

_WORDS = {"hello": [1.0, 2.0, 3.0], "world": [-1.0, 0.5, 2.5], ",": [0.0, -3.0, 1.0]}


@pytest.fixture
def vectors():
    made = KeyedVectors(vector_size=3)
    made.add_vectors(list(_WORDS), np.array(list(_WORDS.values()), dtype=np.float32))
    return made


@pytest.mark.parametrize("binary", [True, False])
def test_word2vec_files_are_read_text_and_binary(tmp_path, vectors, binary):
    path = tmp_path / "vectors"
    vectors.save_word2vec_format(str(path), binary=binary)
    np.testing.assert_allclose(load_word_vectors(path)["world"], _WORDS["world"], rtol=1e-5)


def test_glove_text_is_read_though_it_has_no_header(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, numbers))}\n" for word, numbers in _WORDS.items()))
    np.testing.assert_allclose(load_word_vectors(path)["hello"], _WORDS["hello"])


def test_the_glove_package_is_read_by_its_name():
    vectors = load_word_vectors(GLOVE_PACKAGE)
    assert vectors.vector_size == 50
    assert vectors.similarity("king", "queen") > vectors.similarity("king", "carrot")


def test_rows_stand_in_vocabulary_order_whatever_the_case_or_the_joiners(vectors):
    vocabulary = Vocabulary([*SPECIALS, "Hello", "￭,", "unseen", "World"])
    embeddings = embeddings_for(vocabulary, vectors)
    hello, comma, world = (embeddings.matrix[row] for row in (4, 5, 7))
    expected = np.array([_WORDS["hello"], _WORDS[","], _WORDS["world"]])
    expected -= expected.mean(axis=0)
    expected /= expected.std()
    np.testing.assert_allclose(np.array([hello, comma, world]) / 0.1, expected, rtol=1e-4, atol=1e-6)
    assert embeddings.coverage == 3 / 8
    assert not embeddings.matrix[PAD].any()


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\x10" * 50, b"hello there\nno numbers\n", b"5 3\nhello 1 2\n", b"1 0\nhello\n"]
)
def test_a_file_without_vectors_is_refused_with_one_sentence(tmp_path, content):
    path = tmp_path / "vectors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no word vectors"):
        load_word_vectors(path)


@pytest.mark.parametrize("promise", [b"99999999999999 300", b"1000 99999999999", b"9" * 90 + b" " + b"9" * 90])
@pytest.mark.parametrize("row", [b"hello 1 2 3\n", b"hello \x00\xff\x10" * 50])
def test_a_file_that_promises_more_than_it_holds_takes_no_memory(tmp_path, monkeypatch, promise, row):
    path = tmp_path / "vectors"
    path.write_bytes(promise + b"\n" + row)
    monkeypatch.setattr(KeyedVectors, "load_word2vec_format", lambda *_, **__: pytest.fail("would take the memory"))
    with pytest.raises(ValueError, match="too short"):
        load_word_vectors(path)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_vectors_that_are_not_numbers_are_refused(vectors, number):
    vectors.vectors[0, 1] = number
    with pytest.raises(ValueError, match="not numbers"):
        embeddings_for(Vocabulary([*SPECIALS, "hello"]), vectors)


def test_a_missing_file_is_refused_with_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="no file of word vectors"):
        load_word_vectors(tmp_path / "nowhere")
