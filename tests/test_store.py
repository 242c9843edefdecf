from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.store import StoreError, StoreWriter, TokenStore

DIALOGUES = st.lists(st.lists(st.lists(st.integers(4, 60_000), max_size=5), min_size=2, max_size=4), max_size=6)


def add(writer: StoreWriter, dialogues: list[list[list[int]]]) -> None:
    utterances = [utterance for dialogue in dialogues for utterance in dialogue]
    writer.extend(
        np.array([token for utterance in utterances for token in utterance], np.int32),
        np.array([len(utterance) for utterance in utterances], np.int64),
        np.array([len(dialogue) for dialogue in dialogues], np.int64),
    )


@given(st.lists(DIALOGUES, max_size=3), st.sampled_from([np.uint16, np.int32]))
def test_what_is_written_in_pieces_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, parts: list, dtype: type
) -> None:
    folder = tmp_path_factory.mktemp("store") / "train"
    with StoreWriter(folder, dtype) as writer:
        for part in parts:
            add(writer, part)
    store = TokenStore.open(folder)
    everything = [dialogue for part in parts for dialogue in part]
    assert [[utterance.tolist() for utterance in store[place]] for place in range(len(store))] == everything
    assert store.tokens.dtype == dtype


def test_a_store_is_three_memory_mapped_arrays_that_numpy_reads_by_itself(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", np.uint16) as writer:
        add(writer, [[[4, 5], [6]], [[7], [8], [9, 9, 9]]])
    assert np.load(tmp_path / "s/tokens.npy").tolist() == [4, 5, 6, 7, 8, 9, 9, 9]
    assert np.load(tmp_path / "s/utterances.npy").tolist() == [0, 2, 3, 4, 5, 8]
    assert np.load(tmp_path / "s/dialogues.npy").tolist() == [0, 2, 5]
    assert isinstance(TokenStore.open(tmp_path / "s").tokens.base, np.memmap)


def test_utterances_keep_their_weights_and_those_that_bring_none_weigh_one(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", weighted=True) as writer:
        writer.extend(np.arange(5), np.ones(5, int), np.array([3, 2]), np.array([0.0, 2.0, -1.0, 5.0, 0.0]))
        writer.extend(np.arange(2), np.ones(2, int), np.array([2]))
    store = TokenStore.open(tmp_path / "store")
    assert [store.weights_of(place).tolist() for place in range(3)] == [[0, 2, -1], [5, 0], [1, 1]]
    assert store.responses == 3  # a dialogue's first utterance answers nobody


def test_a_store_without_weights_has_none(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store") as writer:
        writer.extend(np.arange(5), np.ones(5, int), np.array([3, 2]))
    store = TokenStore.open(tmp_path / "store")
    assert store.weights_of(0) is None
    assert store.responses == 3


@pytest.mark.parametrize(("part", "kind"), [("weights", np.float32), ("sources", np.uint16)])
def test_weights_and_sources_that_do_not_fit_are_damage(tmp_path: Path, part: str, kind: type) -> None:
    with StoreWriter(tmp_path / "store") as writer:
        writer.extend(np.arange(5), np.ones(5, int), np.array([3, 2]))
    np.save(tmp_path / "store" / f"{part}.npy", np.ones(4, kind))
    with pytest.raises(StoreError, match="damaged"):
        TokenStore.open(tmp_path / "store")


def test_there_is_nothing_beyond_the_last_dialogue(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s") as writer:
        add(writer, [[[4], [5]]])
    with pytest.raises(IndexError):
        TokenStore.open(tmp_path / "s")[1]


def test_a_folder_that_is_no_store_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a prepared corpus"):
        TokenStore.open(tmp_path)
    with StoreWriter(tmp_path / "s") as writer:
        add(writer, [[[4], [5]]])
    np.save(tmp_path / "s/utterances.npy", np.zeros(2, np.int64))
    with pytest.raises(StoreError, match="is damaged"):
        TokenStore.open(tmp_path / "s")


@pytest.mark.parametrize("part", ["tokens", "utterances", "dialogues"])
@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04", "scalar", "table", "nothing", "objects"])
def test_a_part_of_a_store_that_is_something_else_is_refused(tmp_path: Path, part: str, content: bytes | str) -> None:
    with StoreWriter(tmp_path / "s") as writer:
        add(writer, [[[4], [5]]])
    file = tmp_path / "s" / f"{part}.npy"
    others = {"scalar": np.array(1), "table": np.ones((2, 2)), "nothing": np.zeros(0, int), "objects": np.array([{}])}
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, others[content])
    with pytest.raises(StoreError, match="`chatbot prepare`"):
        TokenStore.open(tmp_path / "s")
