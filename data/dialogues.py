"""Every corpus format -> Dialogue. Readers are generators: a dialogue is forgotten once it is handed on.

Chat JSONL, chitchat, subtitles (through `data.subtitles`), Cornell's native files, DailyDialog, ParlAI text, plain text
and tab-separated pairs. Utterances come as they are written; `data.cleaning` judges them later.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count, islice
from pathlib import PurePath
from typing import Any

import regex

from data.corpus import Document, DocumentError
from data.subtitles import read_cues, read_pairs

CHITCHAT = "chitchat"
MAX_LINES_A_DIALOGUE = 10_000  # a plain file without a blank line is cut here, so that it cannot fill the memory

_SPEAKERS_NOT_IN_TALK = {"system", "developer", "tool", "function"}
_EPISODE = regex.compile(r"s\d{1,2}\s?[ex]\d{1,3}|\b\d{1,2}x\d{2,3}\b", regex.IGNORECASE)
_NAME = regex.compile(r"^\s*([\p{L}\d][\p{L}\d_.' -]{0,24}):\s+")
_CORNELL_FIELD = " +++$+++ "
_ARROW = regex.compile(r"^\d\d:\d\d:\d\d[,.]\d+ --> ", regex.MULTILINE)
_PARLAI = regex.compile(r"^text:[^\n]*\t(?:labels|eval_labels|episode_done):", regex.MULTILINE)
_PARLAI_NUMBERED = regex.compile(r"1 [^\n]+\n(?:1|2) ")
_HEADINGS = {"question", "answer", "input", "output", "prompt", "response", "context", "reply", "q", "a"}
_NOT_CORPORA = {"readme", "license", "licence", "copying", "changelog", "authors", "citation"}


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What two or more people said in turn; `group` (film, show, dialogue) is never divided between splits."""

    id: str
    source: str
    group: str
    utterances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Film:
    """A subtitle file still to be understood, which is most of the work and can be done on any core."""

    name: str
    source: str
    group: str
    form: str
    text: str
    max_gap: float

    def dialogues(self, dropped: Counter[str]) -> Iterator[Dialogue]:
        """Raises DocumentError where the text holds no English subtitles."""
        cues = read_cues(self.text, self.form)
        for place, pair in enumerate(read_pairs(cues, self.max_gap, dropped)):
            yield Dialogue(f"{self.name}/{place}", self.source, f"{self.source}/{self.group}", pair)


@dataclass(slots=True)
class DialogueReader:
    """Reads documents of any known format; `dropped[source]` counts the lines that could not be read, by reason."""

    max_gap: float = 1.0  # seconds between two subtitles of one pair
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    _cornell: dict[str, tuple[Document, list[str]]] = field(default_factory=dict)

    def read(self, document: Document) -> Iterator[Dialogue | Film]:
        """Raises DocumentError where the document is of no known format, holds no dialogue or breaks off."""
        found = False
        try:
            for dialogue in self._reader(document)(document):
                found = True
                yield dialogue
        except csv.Error as error:
            raise DocumentError("a damaged table") from error
        if not found and document not in [half for half, _ in self._cornell.values()]:
            raise DocumentError("holds no dialogue")

    def left_over(self) -> list[tuple[str, str]]:
        """Name and reason of each file that waited in vain for its other half."""
        others = {"lines": "movie_conversations.txt", "conversations": "movie_lines.txt"}
        return [
            (document.name, f"useless without {others[half]} beside it")
            for half, (document, _) in self._cornell.items()
        ]

    def _reader(self, document: Document) -> Callable[[Document], Iterator[Dialogue] | Iterator[Film]]:
        name, head = PurePath(document.name), document.head
        suffix = name.suffix.lower()
        if document.stem.lower() in _NOT_CORPORA:
            raise DocumentError("about a corpus, not one")
        if suffix in {".srt", ".vtt"} or head.lstrip().startswith("WEBVTT") or _ARROW.search(head):
            return self._subtitles
        if suffix == ".xml" or head.lstrip().startswith("<?xml"):
            return self._opus_xml
        if suffix in {".jsonl", ".ndjson"} or head.lstrip().startswith("{"):
            return self._chat
        if suffix == ".csv" and "Answer.sentence1" in head:
            return _self_dialogue
        if _CORNELL_FIELD.strip() in head:
            return self._cornell_half
        if "__eou__" in head:
            return _daily_dialog
        if _PARLAI.search(head):
            return _parlai
        if _PARLAI_NUMBERED.match(head):
            return _parlai_numbered
        if suffix == ".tsv" or _share_of_lines(head, "\t") > 0.9:
            return _tab_separated
        if "opensubtitles" in document.name.lower() and "\n\n" not in head:
            return self._opus_plain
        if suffix in {".txt", ".text", ""}:
            return _plain_text
        raise DocumentError("of no known format")

    def _drop(self, source: str, reason: str) -> None:
        self.dropped.setdefault(source, Counter())[reason] += 1

    def _subtitles(self, document: Document) -> Iterator[Film]:
        form = "vtt" if document.head.lstrip("\ufeff \n").startswith("WEBVTT") else "srt"
        yield Film(document.name, "subtitles", film_of(document.name), form, document.text(), self.max_gap)

    def _opus_xml(self, document: Document) -> Iterator[Film]:
        # OPUS lays each film's versions in a folder of their own: year/film/version.xml.
        group = PurePath(document.name).parent.name or document.stem
        yield Film(document.name, "opensubtitles", group, "xml", document.text(), self.max_gap)

    def _opus_plain(self, document: Document) -> Iterator[Film]:
        """One line a subtitle, films end to end without a sign between them: blocks of lines stand for films."""
        lines = document.lines()
        for block in count():
            if not (some := list(islice(lines, 1000))):
                break
            name = f"{document.name}, lines {block * 1000 + 1:,} on"
            yield Film(name, "opensubtitles", name, "lines", "\n".join(some), self.max_gap)

    def _chat(self, document: Document) -> Iterator[Dialogue]:
        for number, line in enumerate(document.lines(), 1):
            if not line.strip():
                continue
            try:
                yield _chat_dialogue(json.loads(line), f"{document.name}/{number}", document.stem)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                self._drop(document.stem, "unreadable line")

    def _cornell_half(self, document: Document) -> Iterator[Dialogue]:
        """The lines and the conversations of the films stand in two files; whichever comes first waits."""
        half = "conversations" if "['L" in document.head else "lines"
        self._cornell[half] = (document, list(document.lines()))
        if len(self._cornell) == 2:
            lines, conversations = self._cornell.pop("lines")[1], self._cornell.pop("conversations")[1]
            yield from _cornell_dialogues(lines, conversations)


def chitchat() -> Iterator[Dialogue]:
    """The corpus of the chitchat-dataset package: 7,168 chats of two people."""
    from chitchat_dataset import Dataset

    for id, conversation in Dataset().items():
        messages = [(one["sender"], one["text"]) for turn in conversation["messages"] for one in turn]
        yield Dialogue(f"{CHITCHAT}/{id}", CHITCHAT, f"{CHITCHAT}/{id}", merge_turns(messages))


def merge_turns(messages: Iterable[tuple[str | None, str]]) -> tuple[str, ...]:
    """Utterances of (speaker, text) messages: what one speaker sends in a row is one; None is nobody twice."""
    utterances: list[str] = []
    before: str | None = None
    for speaker, text in messages:
        if not (text := text.strip()):
            continue
        if utterances and speaker is not None and speaker == before:
            utterances[-1] = f"{utterances[-1]}{'.' if utterances[-1][-1].isalnum() else ''} {text}"
        else:
            utterances.append(text)
        before = speaker
    return tuple(utterances)


def film_of(name: str) -> str:
    """The film or show a subtitle file belongs to: an episode's show is the folder it lies in."""
    path = PurePath(name)
    return path.parent.name if _EPISODE.search(path.stem) and path.parent.name else path.stem


def _chat_dialogue(record: dict[str, Any], id: str, source: str) -> Dialogue:
    id = str(record.get("id") or id)
    source = str(record.get("source") or source)
    messages = [
        (message.get("name") or message.get("role"), _content(message["content"]))
        for message in record["messages"]
        if message.get("role") not in _SPEAKERS_NOT_IN_TALK
    ]
    episode = _EPISODE.search(id)
    group = str(record.get("group") or (id[: episode.end()] if episode else id))
    return Dialogue(id, source, f"{source}/{group}", merge_turns(messages))


def _content(content: str | list[dict[str, str]] | None) -> str:
    """A message's text; chat logs also write it as a list of parts, or null for a call of a tool."""
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


def _cornell_dialogues(lines: Iterable[str], conversations: Iterable[str]) -> Iterator[Dialogue]:
    spoken = {}
    for line in lines:
        fields = line.split(_CORNELL_FIELD)
        if len(fields) == 5:
            spoken[fields[0]] = (fields[1], fields[4])
    for number, line in enumerate(conversations):
        fields = line.split(_CORNELL_FIELD)
        ids = regex.findall(r"L\d+", fields[-1]) if len(fields) == 4 else []
        messages = [spoken[id] for id in ids if id in spoken]
        if messages:
            yield Dialogue(f"cornell/{number}", "cornell", f"cornell/{fields[2]}", merge_turns(messages))


def _daily_dialog(document: Document) -> Iterator[Dialogue]:
    for number, line in enumerate(document.lines()):
        utterances = tuple(turn.strip() for turn in line.split("__eou__") if turn.strip())
        if utterances:
            id = f"dailydialog/{document.stem}/{number}"
            yield Dialogue(id, "dailydialog", id, utterances)


def _self_dialogue(document: Document) -> Iterator[Dialogue]:
    """The self-dialogue corpus as its crowd workers handed it in: a row a dialogue, sentences in numbered columns."""
    rows = csv.DictReader(f"{line}\n" for line in document.lines())
    columns = sorted((name for name in rows.fieldnames or () if name.startswith("Answer.sentence")), key=_number_at_end)
    for number, row in enumerate(rows):
        if not row.get("Reject"):
            sentences = (row[column] or "" for column in columns)
            id = f"self_dialogue/{row.get('AssignmentId') or f'{document.name}/{number}'}"
            yield Dialogue(id, "self_dialogue", id, tuple(text.strip() for text in sentences if text.strip("{} ")))


def _number_at_end(name: str) -> int:
    return int(regex.search(r"\d*$", name)[0] or 0)


def _parlai(document: Document) -> Iterator[Dialogue]:
    """ParlAI's text: `text:…<tab>labels:…<tab>episode_done:True`."""
    turns: list[str] = []
    episode = 0
    for line in document.lines():
        fields = dict(part.split(":", 1) for part in line.split("\t") if ":" in part)
        turns += _without_persona(fields.get("text", "").split(r"\n"))
        turns += (fields.get("labels") or fields.get("eval_labels") or "").split("|")[:1]
        if fields.get("episode_done") == "True" or len(turns) > MAX_LINES_A_DIALOGUE:
            yield _numbered(document, episode, turns)
            turns, episode = [], episode + 1
    if turns:
        yield _numbered(document, episode, turns)


def _parlai_numbered(document: Document) -> Iterator[Dialogue]:
    """ParlAI's older text: `1 question<tab>answer`, the number beginning again with each dialogue."""
    turns: list[str] = []
    episode = 0
    for line in document.lines():
        number, _, rest = line.partition(" ")
        if number == "1" and turns:
            yield _numbered(document, episode, turns)
            turns, episode = [], episode + 1
        if "\t" in rest:  # a line without an answer is background, such as a persona
            turns += rest.split("\t")[:2]
    if turns:
        yield _numbered(document, episode, turns)


def _without_persona(lines: Iterable[str]) -> list[str]:
    spoken = [line for line in lines if not line.startswith(("your persona:", "partner's persona:"))]
    return [" ".join(spoken)]


def _tab_separated(document: Document) -> Iterator[Dialogue]:
    """Question, tab, answer. A question that repeats the answer before it goes on with that dialogue's group."""
    before, group = "", 0
    for number, line in enumerate(document.lines()):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) < 2 or (number == 0 and {cell.lower() for cell in cells[:2]} <= _HEADINGS):
            continue
        group = group if cells[0] == before else number
        before = cells[1]
        yield Dialogue(f"{document.stem}/{number}", document.stem, f"{document.stem}/{group}", tuple(cells[:2]))


def _plain_text(document: Document) -> Iterator[Dialogue]:
    """One utterance a line, a blank line between dialogues; names before a colon, if any, tell the speakers."""
    messages: list[tuple[str | None, str]] = []
    number = 0
    for line in chain(document.lines(), [""]):
        if line.strip() and len(messages) < MAX_LINES_A_DIALOGUE:
            name = _NAME.match(line)
            messages.append((name[1], line[name.end() :]) if name else (None, line))
        elif messages:
            if len(messages) > 1:
                yield _numbered(document, number, merge_turns(messages))
            messages, number = [], number + 1


def _numbered(document: Document, number: int, utterances: Iterable[str]) -> Dialogue:
    id = f"{document.stem}/{number}"
    return Dialogue(id, document.stem, id, tuple(text.strip() for text in utterances if text.strip()))


def _share_of_lines(head: str, sign: str) -> float:
    lines = [line for line in head.split("\n")[:100] if line.strip()]
    return sum(sign in line for line in lines) / max(1, len(lines))
