import io
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.corpus import Corpus, Document, DocumentError
from data.dialogues import Dialogue, DialogueReader, chitchat, merge_turns

CORNELL_LINES = (
    "L3 +++$+++ u1 +++$+++ m0 +++$+++ ANN +++$+++ Nobody knows.\n"
    "L2 +++$+++ u0 +++$+++ m0 +++$+++ BEN +++$+++ Where is the key?\n"
    "L1 +++$+++ u1 +++$+++ m0 +++$+++ ANN +++$+++ The door is shut.\n"
    "a broken line\n"
)
CORNELL_CONVERSATIONS = "u0 +++$+++ u1 +++$+++ m0 +++$+++ ['L1', 'L2', 'L3', 'L9']\n"


def read(name: str, text: str | bytes, reader: DialogueReader | None = None) -> list[Dialogue]:
    content = text if isinstance(text, bytes) else text.encode()
    found: list[Dialogue] = []
    for one in (reader or DialogueReader()).read(Document(name, io.BytesIO(content))):
        found.extend([one] if isinstance(one, Dialogue) else one.dialogues(Counter()))
    return found


def utterances(name: str, text: str) -> list[tuple[str, ...]]:
    return [dialogue.utterances for dialogue in read(name, text)]


def chat(*messages: dict[str, object], **more: str) -> str:
    return json.dumps({**more, "messages": messages}) + "\n"


def test_chat_jsonl_is_read_with_its_id_source_and_group() -> None:
    line = chat({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, id="7", source="logs")
    assert read("x.jsonl", line) == [Dialogue("7", "logs", "logs/7", ("Hi", "Hello"))]


def test_messages_of_one_speaker_in_a_row_are_one_utterance() -> None:
    assert merge_turns([("a", "Hi"), ("a", "are you there?"), ("b", "Yes"), ("b", "  "), ("a", "Good")]) == (
        "Hi. are you there?",
        "Yes",
        "Good",
    )


def test_messages_without_a_speaker_alternate() -> None:
    assert utterances("x.jsonl", chat({"content": "One"}, {"content": "Two"})) == [("One", "Two")]


def test_system_messages_and_parts_and_null_contents_of_other_systems_are_understood() -> None:
    line = chat(
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url"}]},
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "Hello"},
    )
    assert utterances("x.jsonl", line) == [("Hi", "Hello")]


def test_a_broken_line_of_chat_is_counted_and_the_rest_is_read() -> None:
    reader = DialogueReader()
    text = '{"messages": [\n[1]\n{"messages": [{"role": "user"}]}\n' + chat({"content": "One"}, {"content": "Two"})
    assert len(read("x.jsonl", text, reader)) == 1
    assert reader.dropped["x"]["unreadable line"] == 3


def test_scenes_of_one_episode_share_a_group() -> None:
    scenes = [chat({"content": "a"}, {"content": "b"}, id=f"trek/tng/s01e02/{scene}", source="t") for scene in (1, 2)]
    assert {dialogue.group for dialogue in read("x.jsonl", "".join(scenes))} == {"t/trek/tng/s01e02"}


def test_cornell_is_put_together_from_its_two_files_in_either_order() -> None:
    halves = [("movie_lines.txt", CORNELL_LINES), ("movie_conversations.txt", CORNELL_CONVERSATIONS)]
    for order in (halves, halves[::-1]):
        reader = DialogueReader()
        found = [dialogue for name, text in order for dialogue in read(name, text, reader)]
        assert [(one.group, one.utterances) for one in found] == [
            ("cornell/m0", ("The door is shut.", "Where is the key?", "Nobody knows."))
        ]
        assert not reader.left_over()


def test_half_of_cornell_is_left_over() -> None:
    reader = DialogueReader()
    assert read("movie_lines.txt", CORNELL_LINES, reader) == []
    assert reader.left_over() == [("movie_lines.txt", "useless without movie_conversations.txt beside it")]


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


def test_pairs_that_follow_each_other_share_a_group() -> None:
    groups = [one.group for one in read("q.tsv", "a\tb\nb\tc\nx\ty\n")]
    assert groups[0] == groups[1] != groups[2]


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


def test_chitchat_holds_the_chats_of_its_package() -> None:
    dialogues = list(chitchat())
    assert len(dialogues) == 7168
    assert sum(len(one.utterances) > 2 for one in dialogues) > 3400
    assert len({one.group for one in dialogues}) == 7168


@given(
    st.binary(max_size=400) | st.text(max_size=200).map(str.encode),
    st.sampled_from(
        ["", "{", "1 ", "text:a\tlabels:b\n", "WEBVTT\n", "<?xml?>", "L1 +++$+++ u +++$+++ ", "a __eou__ b"]
    ),
    st.sampled_from([".srt", ".vtt", ".xml", ".jsonl", ".tsv", ".txt", ".csv", ""]),
)
def test_no_bytes_whatsoever_crash_a_reader(content: bytes, start: str, suffix: str) -> None:
    with suppress(DocumentError):
        read(f"x{suffix}", start.encode() + content)


def test_archives_and_compressed_files_are_opened(tmp_path: Path) -> None:
    import gzip
    import lzma
    import tarfile
    import zipfile

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
