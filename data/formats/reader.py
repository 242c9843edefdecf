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
from data.formats.dialogue import Dialogue, Losses
from data.formats.tables import headings_of, tab_separated, table
from data.formats.transcripts import chat_log, demand_names, is_chat_log, plain_text
from data.subtitles import read_pairs

_ARROW = regex.compile(r"^\[?(?:\d+:)?\d+:\d+[,.]\d+ *--> *(?:\d+:)?\d+:\d+[,.]\d", regex.MULTILINE)
_PARLAI = regex.compile(r"^text:[^\n]*\t(?:labels|eval_labels|episode_done):", regex.MULTILINE)
_PARLAI_NUMBERED = regex.compile(r"1 [^\n]+\n(?:1|2) ")
_RASA_EVENT = regex.compile(r'"event"\s*:\s*"')
_RASA_TRACKER = regex.compile(r'"events"\s*:\s*\[')
_JSON = regex.compile(r'\s*(?:\{\s*["}]|\[\s*(?:\{\s*["}]|\[|"))')
_WEB_PAGE = regex.compile(r"\s*<(?:!doctype html|html)\b", regex.IGNORECASE)
# Subtitles of formats without arrows: MicroDVD and MPL2 count frames or tenths; TMPlayer, SubViewer and YouTube's own.
_OTHER_SUBTITLES = regex.compile(
    r"\s*(?:[{\[]\d+[}\]][{\[]\d*[}\]]|\d{1,2}:\d\d:\d\d[:=](?=\S)|\d{1,2}:\d\d:\d\d\.\d{2,3},\d)"
)
_CHATTERBOT_YAML = regex.compile(r"^(?:categories|conversations)\s*:", regex.MULTILINE)
_PLAIN = {".txt", ".text", ""}
_TEXT = {*_PLAIN, ".log", ".tab"}
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
    """Reads documents of any known format; `dropped[source]` counts what was left out, by reason.

    `first_bad` has the name of each document with lines that could not be read, or with bytes that are no text, and the
    number of its first, from 1 (in a list, of the first entry).
    """

    max_gap: float = 1.0  # seconds between two subtitles of one pair
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    _losses: dict[str, Losses] = field(default_factory=dict)  # of documents with unreadable lines
    _cornell: dict[str, tuple[Document, list[str]]] = field(default_factory=dict)

    @property
    def first_bad(self) -> dict[str, int]:
        return {name: losses.first_bad for name, losses in self._losses.items() if losses.first_bad is not None}

    def read(self, document: Document) -> Iterator[Dialogue | Film]:
        """Raises DocumentError where the document is of no known format, holds no dialogue or breaks off."""
        found, losses = False, Losses()
        try:
            for dialogue in self._reader(document, losses)(document):
                found = True
                yield dialogue
        except csv.Error as error:
            raise DocumentError("a damaged table") from error
        finally:
            for number in document.too_long:
                losses.bad(number, "line of over 16 million characters")
            if document.first_damaged:
                losses.name(document.first_damaged)
            self._note(document, losses)
        if not found and document not in [half for half, _ in self._cornell.values()]:
            raise DocumentError(f"holds no dialogue{losses.expectation}")

    def left_over(self) -> list[tuple[str, str]]:
        """Name and reason of each file that waited in vain for its other half."""
        others = {"lines": "movie_conversations.txt", "conversations": "movie_lines.txt"}
        return [
            (document.name, f"useless without {others[half]} beside it")
            for half, (document, _) in self._cornell.items()
        ]

    def unread_lines(self) -> list[str]:
        """For each document with lines that could not be read, where they are and what was expected there."""
        return [
            f"line {losses.first_bad:,} of {name}, and perhaps others, could not be read{losses.expectation}"
            for name, losses in self._losses.items()
        ]

    def _note(self, document: Document, losses: Losses) -> None:
        if losses.counts:
            self.dropped.setdefault(document.stem, Counter()).update(losses.counts)
        if losses.first_bad is not None:
            self._losses[document.name] = losses

    def _reader(self, document: Document, losses: Losses) -> Callable[[Document], Iterator[Dialogue] | Iterator[Film]]:
        suffix, head = PurePath(document.name).suffix.lower(), document.head
        if document.stem.lower() in _NOT_CORPORA:
            raise DocumentError("about a corpus, not one")
        if suffix in {".srt", ".vtt"} or head.lstrip().startswith("WEBVTT") or _ARROW.search(head):
            return self._subtitles
        if _WEB_PAGE.match(head):
            raise DocumentError("a web page; export the chat as JSON or as text, and give that")
        if suffix == ".xml" or head.lstrip().startswith("<?xml"):
            return self._opus_xml
        if suffix in {".jsonl", ".ndjson"} or _JSON.match(head):
            is_event = _RASA_EVENT.search(head) and not _RASA_TRACKER.search(head)
            return partial(rasa_events if is_event else chats, losses=losses)
        if suffix in {".yml", ".yaml"} and _CHATTERBOT_YAML.search(head):
            return chatterbot_yaml
        if suffix == ".csv" and "Answer.sentence1" in head:
            return self_dialogue
        if suffix in {".csv", ".tsv", *_TEXT} and headings_of(head):
            return partial(table, losses=losses)
        if CORNELL_FIELD.strip() in head:
            return partial(self._cornell_half, losses=losses)
        is_tabbed = suffix == ".tsv" or _share_of_lines(head, "\t") > 0.9
        if "opensubtitles" in document.name.lower() and "\n\n" not in head and not is_tabbed:
            return self._opus_plain
        return partial(_text_reader(document, suffix), losses=losses)

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

    def _cornell_half(self, document: Document, losses: Losses) -> Iterator[Dialogue]:
        """The lines and the conversations of the films stand in two files; whichever comes first waits."""
        half = "conversations" if "['L" in document.head else "lines"
        self._cornell[half] = (document, list(document.lines()))
        if len(self._cornell) == 2:
            lines, conversations = self._cornell.pop("lines")[1], self._cornell.pop("conversations")[1]
            yield from cornell(lines, conversations, losses)


def _text_reader(document: Document, suffix: str) -> Callable[..., Iterator[Dialogue]]:
    """The reader of text without a frame, told by signs within it."""
    head = document.head
    if "__eou__" in head:
        return daily_dialog
    if _PARLAI.search(head):
        return parlai
    if _PARLAI_NUMBERED.match(head):
        return parlai_numbered
    if suffix in _TEXT and is_chat_log(head):
        return chat_log
    if suffix == ".tsv" or (suffix in _TEXT and _share_of_lines(head, "\t") > 0.9):
        return tab_separated
    if suffix in _PLAIN and not _OTHER_SUBTITLES.match(head):
        demand_names(head)
        return plain_text
    raise DocumentError("of no known format")


def film_of(name: str) -> str:
    """The film or show a subtitle file belongs to: an episode's show is the folder it lies in."""
    path = PurePath(name)
    return path.parent.name if EPISODE.search(path.stem) and path.parent.name else path.stem


def _share_of_lines(head: str, sign: str) -> float:
    lines = [line for line in head.split("\n")[:100] if line.strip()]
    return sum(sign in line for line in lines) / max(1, len(lines))
