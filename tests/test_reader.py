"""Which format a document has, and what becomes of one that has none."""

import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.corpus import Corpus, Document, DocumentError, PackedTooWellError
from data.formats.dialogue import merge_turns
from data.formats.reader import DialogueReader
from tests.formats import chat, read, utterances


def test_messages_of_one_speaker_in_a_row_are_one_utterance() -> None:
    assert merge_turns([("a", "Hi"), ("a", "are you there?"), ("b", "Yes"), ("b", "  "), ("a", "Good")]) == (
        "Hi. are you there?",
        "Yes",
        "Good",
    )


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("d.txt", "Hi . __eou__ Hello . __eou__\nBye __eou__ Go __eou__\n", [("Hi .", "Hello ."), ("Bye", "Go")]),
        (
            "p.txt",
            "text:your persona: I fish.\\nHi\tlabels:Hello|Hey\nworld\ntext:Bye\tlabels:See you\tepisode_done:True\n"
            "text:New\teval_labels:Old\tepisode_done:True\n",
            [("Hi", "Hello", "Bye", "See you"), ("New", "Old")],
        ),
        (
            "fb.txt",
            "1 your persona: I fish.\n2 Hi\tHello\t\ta|b\n3 Bye\tSee you\n1 New\tOld\n",
            [("Hi", "Hello", "Bye", "See you"), ("New", "Old")],
        ),
        ("t.txt", "Hi\nHello\n\n\nANN: Bye\nANN: now\nBEN: Go\n\nalone\n", [("Hi", "Hello"), ("Bye. now", "Go")]),
        ("q.tsv", "question\tanswer\nHi\tHello\nHello\tWhat?\n", [("Hi", "Hello"), ("Hello", "What?")]),
        ("OpenSubtitles.en", "- Where are you?\n- Right here.\nI was waiting\nfor you.\n",
         [("Where are you?", "Right here."), ("Right here.", "I was waiting for you.")]),
        ("s.csv", 'Answer.sentence1,Answer.sentence10,Answer.sentence2,Reject\nHi,Bye,"Hel\nlo",\na,b,c,bad\n',
         [("Hi", "Hel\nlo", "Bye")]),
    ],
)  # fmt: skip
def test_each_format_is_known_by_its_content(name: str, text: str, found: list[tuple[str, ...]]) -> None:
    assert utterances(name, text) == found


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n\n", "empty"),
        ("a.srt", bytes(range(256)) * 9, "binary"),
        ("a.srt", b"no times here", "no subtitle cues"),
        ("a.txt", b"just one line\n\nand another\n", "no dialogue"),
        ("a.png", b"hello\nthere\n", "no known format"),
        ("README.txt", b"hello\nthere\n", "not one"),
    ],
)
def test_a_useless_file_is_refused_with_its_reason(name: str, content: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        read(name, content)


@given(
    st.binary(max_size=400) | st.text(max_size=200).map(str.encode),
    st.sampled_from(
        [
            *("", "{", "1 ", "text:a\tlabels:b\n", "WEBVTT\n", "<?xml?>", "L1 +++$+++ u +++$+++ ", "a __eou__ b"),
            *("conversations:\n- ", '[{"event": "user", "sender_id": ', '{"events": [', "session_id,text,time\n1,"),
            *('{"conversations": [[', "question,answer\n", '{"mapping": {"a": {', '{"chosen": [', '{"prompt": {'),
            *(
                "12/31/22, 9:15 PM - Ann: Hi\n12/31/22, 9:16 PM - ",
                "[12:00] <a> b\n<a> ",
                "id,reply_to,author,text\n1,",
            ),
            *('[{"role": ', "1\ta b\tc d\n", "session_id,created_at,text\n1,1/2/2024 "),
        ]
    ),
    st.sampled_from([".srt", ".vtt", ".xml", ".jsonl", ".tsv", ".txt", ".csv", ".json", ".yml", ""]),
)
def test_no_bytes_whatsoever_crash_a_reader(content: bytes, start: str, suffix: str) -> None:
    with suppress(DocumentError):
        read(f"x{suffix}", start.encode() + content)


def test_archives_and_compressed_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("Hi\nHello\n")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"Hi\nHello\n"))
    (tmp_path / "b.txt.xz").write_bytes(lzma.compress(b"Hi\nHello\n"))
    with tarfile.open(tmp_path / "c.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "plain.txt", "in/plain.txt")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("in/plain.txt", "Hi\nHello\n")
        archive.writestr("__MACOSX/._plain.txt", "junk")
    (tmp_path / "e.txt.xz").write_bytes(lzma.compress(b"Hi\nHello\n" * 9999)[:-40])
    (tmp_path / "f.zip").write_bytes(b"not a zip")
    bad: list[tuple[str, str]] = []
    corpus = Corpus([tmp_path], lambda name, reason: bad.append((Path(name).name, reason)))
    names = []
    for document in corpus.documents():
        with suppress(DocumentError):
            list(document.lines())
            names.append(document.name.removeprefix(f"{tmp_path}/"))
    assert names == ["a.txt", "b.txt", "c.tar/in/plain.txt", "d.zip/in/plain.txt", "plain.txt"]
    assert ("f.zip", "truncated or damaged") in bad
    assert corpus.position == corpus.size


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("x.json", '[\n{"messages": []},\n{"messages"\n]', "invalid JSON in line 4"),
        ("x.json", '[{"a": ' + "[" * 200_000, "JSON"),
        ("x.yml", "conversations:\n- - Hi\n\t- Hello\n", "invalid YAML in line 3"),
        ("x.yml", "conversations: 3\n", "no dialogue"),
        ("x.yml", "- conversations:\nconversations:\n", "invalid YAML in line 2"),
        ("x.yml", "conversations: " + "[" * 200_000, "no ChatterBot corpus|invalid YAML in line 1"),  # later PyYAMLs
        ("x.yml", "conversations:\n- !!python/object/apply:os.system [exit]\n", "no dialogue"),
        ("x.yml", "model: 3\n", "no known format"),
        ("x.csv", "session_id,text\n", "no dialogue"),
        ("x.json", "[1, 2]", "no known format"),
    ],
)
def test_a_damaged_log_is_refused_with_its_reason(name: str, text: str, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        read(name, text)


def test_the_first_bad_line_is_named_and_the_rest_is_read() -> None:
    reader = DialogueReader()
    good = chat({"content": "One"}, {"content": "Two"})
    assert len(read("a/x.jsonl", good * 2 + '{"messages": [\n' + good * 50 + "{\n", reader)) == 52
    assert reader.dropped["x"] == {"unreadable line": 2}
    assert reader.first_bad == {"a/x.jsonl": 3}


class Endless(io.RawIOBase):
    """A stream that is made while it is read, so that no test writes a gigabyte."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, b""

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (block := next(self._blocks, b"")):
            self._rest += block
        block, self._rest = self._rest[:size], self._rest[size:]
        return block


def test_an_endless_line_is_skipped_within_little_memory_and_the_rest_is_read() -> None:
    good = chat({"content": "One"}, {"content": "Two"}).encode()
    blocks = iter([good, b'{"messages": "', *[b"x" * (1 << 20)] * 200, b'"}\n', good])
    reader = DialogueReader()
    tracemalloc.start()
    found = list(reader.read(Document("x.jsonl", Endless(blocks))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 2
    assert reader.dropped["x"] == {"line of over 16 million characters": 1}
    assert reader.first_bad == {"x.jsonl": 2}
    assert peak < 100 << 20


def test_an_endless_json_list_is_refused() -> None:
    blocks = iter([b'[{"event": "user", "sender_id": "', *[b"x" * (1 << 20)] * 100])
    with pytest.raises(DocumentError, match="larger than 64 MiB"):
        list(DialogueReader().read(Document("x.json", Endless(blocks))))


def test_what_a_log_held_before_it_broke_off_is_not_lost() -> None:
    import random

    rows = "".join(f"{id},{random.Random(id).random()}\n" for id in range(20_000) for _ in range(2))
    packed = gzip.compress(("session_id,text\n" + rows).encode())
    found = []
    with gzip.open(io.BytesIO(packed[: len(packed) // 2])) as stream:
        reading = DialogueReader().read(Document("x.csv", stream))
        with pytest.raises(DocumentError, match="truncated"):
            all(found.append(dialogue) is None for dialogue in reading)
    assert len(found) > 1000


def test_a_log_that_is_not_utf_8_is_read_in_its_own_encoding() -> None:
    content = "session_id,text\n1,Caf\xe9?\n1,Si\n".encode("cp1252")
    assert [one.utterances for one in read("x.csv", content)] == [("Caf\xe9?", "Si")]


def zipped(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def nested(layers: int) -> bytes:
    content = zipped({"talk.txt": b"Hi\nHello\n"})
    for _ in range(layers - 1):
        content = zipped({"inner.zip": content})
    return content


def test_what_unpacks_to_far_more_than_its_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.corpus.MIN_UNPACKED_BYTES", 100_000)
    much = b"Hi\nHello\n" * 100_000
    packed = {
        "a.zip": zipped({"talk.txt": much}),
        "b.txt.gz": gzip.compress(much),
        "c.zip": zipped({"inner.zip": zipped({"talk.txt": much})}),
        "d.zip": nested(4),
        "e.zip": nested(5),
        "f.txt.xz": lzma.compress(much),
    }
    for name, content in packed.items():
        (tmp_path / name).write_bytes(content)
    bad: list[tuple[str, str]] = []
    read = []
    for document in Corpus([tmp_path], lambda name, reason: bad.append((Path(name).name, reason))).documents():
        with suppress(PackedTooWellError):
            list(document.lines())
            read.append(Path(document.name).parent.parent.parent.parent.name)
    assert read == ["d.zip"]
    too_much = "unpacks to more than 200 times its size; unpack it first"
    assert [name for name, reason in bad if reason == too_much] == ["a.zip", "c.zip"]
    assert [reason for _, reason in bad if reason != too_much] == ["packed too many times over; unpack it first"]
