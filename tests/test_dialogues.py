import io
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.corpus import Corpus, Document, DocumentError
from data.formats.corpora import chitchat
from data.formats.dialogue import Dialogue, merge_turns
from data.formats.reader import DialogueReader

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


def said(name: str, text: str) -> list[list[tuple[str, str]]]:
    """The utterances of each dialogue with their roles."""
    return [list(zip(one.roles or (), one.utterances, strict=True)) for one in read(name, text)]


def test_chat_jsonl_is_read_with_its_id_source_and_group() -> None:
    line = chat({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, id="7", source="logs")
    assert read("x.jsonl", line) == [Dialogue("7", "logs", "logs/7", ("Hi", "Hello"), ("user", "assistant"))]


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
        [
            *("", "{", "1 ", "text:a\tlabels:b\n", "WEBVTT\n", "<?xml?>", "L1 +++$+++ u +++$+++ ", "a __eou__ b"),
            *("conversations:\n- ", '[{"event": "user", "sender_id": ', '{"events": [', "session_id,text,time\n1,"),
            *('{"conversations": [[', "question,answer\n"),
        ]
    ),
    st.sampled_from([".srt", ".vtt", ".xml", ".jsonl", ".tsv", ".txt", ".csv", ".json", ".yml", ""]),
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


def test_roles_stay_in_step_where_messages_are_merged() -> None:
    line = chat(
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": " "},
        {"role": "user", "content": "Are you open?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "assistant", "content": "Until six."},
    )
    assert said("x.jsonl", line) == [[("user", "Hi. Are you open?"), ("assistant", "Yes. Until six.")]]


def test_people_among_themselves_have_no_roles() -> None:
    line = chat({"name": "Ann", "content": "Hi"}, {"role": "user", "content": "Hello"})
    assert [one.roles for one in read("x.jsonl", line)] == [None]


TABLE = """session_id,created_at,sender,message
b,2024-05-01T10:00:01Z,Bot,"Good morning, how can I help?"
a,2024-05-01T09:00:00Z,Customer,Hi
b,2024-05-01T10:00:00Z,Customer,Hello
a,2024-05-01T09:00:05Z,bot,Hello Sir
b,2024-05-01T10:00:02Z,customer,"Are you
open?"
"""


def test_a_table_of_messages_is_put_together_by_conversation_and_time() -> None:
    found = {one.id: said for one, said in zip(read("x.csv", TABLE), said("x.csv", TABLE), strict=True)}
    assert found == {
        "x/a": [("user", "Hi"), ("assistant", "Hello Sir")],
        "x/b": [("user", "Hello"), ("assistant", "Good morning, how can I help?"), ("user", "Are you\nopen?")],
    }


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_table_may_be_delimited_otherwise(delimiter: str) -> None:
    text = "Dialogue ID,Speaker,Text\n1,agent,Good day\n1,visitor,Hi\n".replace(",", delimiter)
    name = "x.tsv" if delimiter == "\t" else "x.csv"
    assert said(name, text) == [[("assistant", "Good day"), ("user", "Hi")]]


def test_a_table_without_roles_times_or_speakers_is_read_as_it_stands() -> None:
    people = "chat_id,author,text,date\n1,Ann,Hi,on Monday\n1,Ann,you,on Sunday\n1,Ben,Bye,2024-01-01\n"
    assert [(one.utterances, one.roles) for one in read("x.csv", people)] == [(("Hi. you", "Bye"), None)]
    assert utterances("x.csv", "thread,body\n1,Hi\n1,Hello\n2,Bye\n2,Go\n") == [("Hi", "Hello"), ("Bye", "Go")]
    assert utterances("x.csv", "speaker,text\nAnn,Hi\nBen,Hello\n") == [("Hi", "Hello")]


def test_instructions_to_an_assistant_are_no_talk_but_a_bot_may_be_called_system() -> None:
    with_prompt = "session_id,role,content\n1,system,Be kind.\n1,user,Hi\n1,assistant,Hello\n"
    assert said("x.csv", with_prompt) == [[("user", "Hi"), ("assistant", "Hello")]]
    without = "session_id,speaker,text\n1,SYSTEM,Hello\n1,USER,Hi\n"
    assert said("x.csv", without) == [[("assistant", "Hello"), ("user", "Hi")]]


def test_a_table_of_questions_and_answers_needs_its_headings() -> None:
    assert utterances("x.csv", 'id,Answer,Question\n1,"Yes, we are.",Open?\n') == [("Open?", "Yes, we are.")]
    with pytest.raises(DocumentError, match="no known format"):
        read("x.csv", "Open?,Yes\nWhen?,Now\n")


def test_a_quotation_mark_left_open_costs_some_rows_and_not_the_file() -> None:
    reader = DialogueReader()
    text = 'session_id,text\n1,Hi\n1,Hello\n2,"open' + "\n3,word" * 40_000 + "\n4,Bye\n4,Go\n5\n"
    assert read("x.csv", text, reader)[-1].utterances == ("Bye", "Go")
    assert reader.dropped["x"]["unreadable line"] > 1
    assert reader.first_bad["x.csv"] > 4


def test_a_scattered_log_is_held_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.formats.order.MAX_HELD_BYTES", 500)
    rows = [f"{id},{text}\n" for text in ("What a long question.", "And a long answer.") for id in (1, 2)]
    assert {len(one) for one in utterances("x.csv", "session_id,text\n" + "".join(rows))} == {1}
    monkeypatch.setattr("data.formats.order.MAX_HELD_BYTES", 5_000)
    assert {len(one) for one in utterances("x.csv", "session_id,text\n" + "".join(rows))} == {2}


def rasa(event: str, sender: str, time: float, text: str | None = None) -> dict[str, object]:
    return {"sender_id": sender, "event": event, "timestamp": time, "text": text, "metadata": {}}


EVENTS = [
    rasa("session_started", "s1", 1),
    rasa("user", "s1", 2, "Hi"),
    rasa("user", "s2", 2.5, "Good morning"),
    {"sender_id": "s1", "event": "slot", "name": "city", "value": "Rome", "timestamp": 2.6},
    rasa("bot", "s1", 4, "How can I help?"),
    rasa("bot", "s1", 3, "Hello!"),
    rasa("bot", "s1", 4.5),  # an image
    rasa("bot", "s2", 5, "Morning"),
    rasa("user", "s1", 6, "/restart"),
    rasa("user", "s1", 7, "Bye"),
    rasa("bot", "s1", 8, "See you"),
]
RASA_SAID = [
    [("user", "Good morning"), ("assistant", "Morning")],
    [("user", "Hi"), ("assistant", "Hello! How can I help?")],
    [("user", "Bye"), ("assistant", "See you")],
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.jsonl", "\n".join(map(json.dumps, EVENTS))),
        ("x.json", json.dumps(EVENTS)),
        ("x.json", json.dumps(EVENTS, indent=2)),
        ("x", "\n".join(map(json.dumps, EVENTS))),
    ],
)
def test_events_of_rasa_become_the_sessions_of_each_sender(name: str, text: str) -> None:
    assert said(name, text) == RASA_SAID
    assert {one.group for one in read(name, text)} == {"x/s1", "x/s2"}


@pytest.mark.parametrize("indent", [None, 2])
def test_a_tracker_of_rasa_is_read_alone_or_in_a_list(indent: int | None) -> None:
    events = [
        {key: value for key, value in event.items() if key != "sender_id"}
        for event in EVENTS
        if event["sender_id"] == "s1"
    ]
    tracker = {"sender_id": "s1", "slots": {}, "latest_message": {"text": "Bye"}, "events": events}
    assert said("x.json", json.dumps(tracker, indent=indent)) == RASA_SAID[1:]
    assert said("x.json", json.dumps([tracker], indent=indent)) == RASA_SAID[1:]


def test_exports_and_corpora_of_chatterbot_are_read() -> None:
    export = json.dumps({"conversations": [["Hi", "Hello"], ["Hello", "How are you?"], ["Open?", "Yes"], ["alone"]]})
    corpus = "categories:\n- shop\nconversations:\n- - Hi\n  - Hello\n  - Bye\n- - Open?\n  - Yes\n"
    assert utterances("x.json", export) == [("Hi", "Hello"), ("Hello", "How are you?"), ("Open?", "Yes")]
    assert [one.group for one in read("x.json", export)] == ["x/0", "x/0", "x/2"]
    assert said("x.yml", corpus) == [
        [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")],
        [("user", "Open?"), ("assistant", "Yes")],
    ]


def test_chat_in_a_json_list_is_read_like_its_lines() -> None:
    records = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}] * 2
    assert utterances("x.json", json.dumps(records, indent=1)) == [("Hi", "Hello")] * 2


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
    import gzip
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
