"""Every corpus format -> Dialogue. Readers are generators: a dialogue is forgotten once it is handed on.

Utterances come as they are written; `data.cleaning` judges them later.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from pathlib import PurePath

import regex

from data.corpus import Document, DocumentError
from data.formats.bots import chatterbot_yaml, rasa_events
from data.formats.chats import EPISODE, chats
from data.formats.corpora import CORNELL_FIELD, cornell, daily_dialog, parlai, parlai_numbered, self_dialogue
from data.formats.cues import read_cues
from data.formats.dialogue import Dialogue
from data.formats.tables import columns_of, tab_separated, table
from data.formats.transcripts import plain_text
from data.subtitles import read_pairs

_ARROW = regex.compile(r"^\[?(?:\d+:)?\d+:\d+[,.]\d+ *--> *(?:\d+:)?\d+:\d+[,.]\d", regex.MULTILINE)
_PARLAI = regex.compile(r"^text:[^\n]*\t(?:labels|eval_labels|episode_done):", regex.MULTILINE)
_PARLAI_NUMBERED = regex.compile(r"1 [^\n]+\n(?:1|2) ")
_RASA_EVENT = regex.compile(r'"event"\s*:\s*"')
_RASA_TRACKER = regex.compile(r'"events"\s*:\s*\[')
_JSON_LIST = regex.compile(r"\s*\[\s*\{\s*\"")
_CHATTERBOT_YAML = regex.compile(r"^(?:categories|conversations)\s*:", regex.MULTILINE)
_NOT_CORPORA = {"readme", "license", "licence", "copying", "changelog", "authors", "citation"}


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
        cues = read_cues(self.text, self.form, dropped)
        for place, pair in enumerate(read_pairs(cues, self.max_gap, dropped)):
            yield Dialogue(f"{self.name}/{place}", self.source, f"{self.source}/{self.group}", pair)


@dataclass(slots=True)
class DialogueReader:
    """Reads documents of any known format; `dropped[source]` counts the lines that could not be read, by reason.

    `first_bad` has the name of each document with such lines, or with bytes that are no text, and the number of its
    first, from 1 (in a list, of the first entry).
    """

    max_gap: float = 1.0  # seconds between two subtitles of one pair
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    first_bad: dict[str, int] = field(default_factory=dict)
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
        finally:
            for number in document.too_long:
                self._bad(document, number, "line of over 16 million characters")
            if document.first_damaged:
                self._name(document, document.first_damaged)
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
        suffix, head = PurePath(document.name).suffix.lower(), document.head
        bad = partial(self._bad, document)
        if document.stem.lower() in _NOT_CORPORA:
            raise DocumentError("about a corpus, not one")
        if suffix in {".srt", ".vtt"} or head.lstrip().startswith("WEBVTT") or _ARROW.search(head):
            return self._subtitles
        if suffix == ".xml" or head.lstrip().startswith("<?xml"):
            return self._opus_xml
        if suffix in {".jsonl", ".ndjson"} or head.lstrip().startswith("{") or _JSON_LIST.match(head):
            is_event = _RASA_EVENT.search(head) and not _RASA_TRACKER.search(head)
            return partial(rasa_events if is_event else chats, bad=bad)
        if suffix in {".yml", ".yaml"} and _CHATTERBOT_YAML.search(head):
            return chatterbot_yaml
        if suffix == ".csv" and "Answer.sentence1" in head:
            return self_dialogue
        if suffix in {".csv", ".tsv"} and columns_of(head):
            return partial(table, bad=bad)
        if CORNELL_FIELD.strip() in head:
            return self._cornell_half
        if "__eou__" in head:
            return daily_dialog
        if _PARLAI.search(head):
            return parlai
        if _PARLAI_NUMBERED.match(head):
            return parlai_numbered
        if suffix == ".tsv" or _share_of_lines(head, "\t") > 0.9:
            return tab_separated
        if "opensubtitles" in document.name.lower() and "\n\n" not in head:
            return self._opus_plain
        if suffix in {".txt", ".text", ""}:
            return plain_text
        raise DocumentError("of no known format")

    def _bad(self, document: Document, number: int, reason: str) -> None:
        self.dropped.setdefault(document.stem, Counter())[reason] += 1
        self._name(document, number)

    def _name(self, document: Document, number: int) -> None:
        self.first_bad[document.name] = min(number, self.first_bad.get(document.name, number))

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

    def _cornell_half(self, document: Document) -> Iterator[Dialogue]:
        """The lines and the conversations of the films stand in two files; whichever comes first waits."""
        half = "conversations" if "['L" in document.head else "lines"
        self._cornell[half] = (document, list(document.lines()))
        if len(self._cornell) == 2:
            lines, conversations = self._cornell.pop("lines")[1], self._cornell.pop("conversations")[1]
            yield from cornell(lines, conversations)


def film_of(name: str) -> str:
    """The film or show a subtitle file belongs to: an episode's show is the folder it lies in."""
    path = PurePath(name)
    return path.parent.name if EPISODE.search(path.stem) and path.parent.name else path.stem


def _share_of_lines(head: str, sign: str) -> float:
    lines = [line for line in head.split("\n")[:100] if line.strip()]
    return sum(sign in line for line in lines) / max(1, len(lines))
