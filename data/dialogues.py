"""Every corpus format -> Dialogue. Readers are generators: a dialogue is forgotten once it is handed on.

Chat JSONL, chitchat, subtitles (through `data.subtitles`), Cornell's native files, DailyDialog, ParlAI text, plain text
and tab-separated pairs; and logs of other systems: tables with named columns, Rasa's events and trackers, ChatterBot's
exports and corpora. Utterances come as they are written; `data.cleaning` judges them later.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, count, groupby, islice
from math import isfinite
from pathlib import PurePath
from typing import Any, NamedTuple

import regex
import yaml

from data.corpus import Document, DocumentError
from data.subtitles import read_cues, read_pairs

CHITCHAT = "chitchat"
MAX_LINES_A_DIALOGUE = 10_000  # a plain file without a blank line is cut here, so that it cannot fill the memory
MAX_PARSED_BYTES = 1 << 26  # of JSON or YAML that is one whole: parsed, it takes many times that
MAX_HELD_BYTES = 1 << 27  # of conversations whose messages are scattered over a log, about
_MESSAGE_BYTES = 300  # that a message takes besides its text

_SPEAKERS_NOT_IN_TALK = {"system", "developer", "tool", "function"}
_EPISODE = regex.compile(r"s\d{1,2}\s?[ex]\d{1,3}|\b\d{1,2}x\d{2,3}\b", regex.IGNORECASE)
_NAME = regex.compile(r"^\s*([\p{L}\d][\p{L}\d_.' -]{0,24}):\s+")
_CORNELL_FIELD = " +++$+++ "
_ARROW = regex.compile(r"^\d\d:\d\d:\d\d[,.]\d+ --> ", regex.MULTILINE)
_PARLAI = regex.compile(r"^text:[^\n]*\t(?:labels|eval_labels|episode_done):", regex.MULTILINE)
_PARLAI_NUMBERED = regex.compile(r"1 [^\n]+\n(?:1|2) ")
_HEADINGS = {"question", "answer", "input", "output", "prompt", "response", "context", "reply", "q", "a"}
_QUESTIONS = ("question", "input", "prompt", "context", "query", "q")
_ANSWERS = ("answer", "output", "response", "reply", "a")
# What the columns of a log are called; of several that are there, the first named here counts.
_COLUMNS = {
    "conversation": (
        *("conversation_id", "dialogue_id", "dialog_id", "session_id", "chat_id", "thread_id", "ticket_id"),
        *("conversation", "dialogue", "dialog", "session", "thread"),
    ),
    "speaker": (
        *("role", "speaker", "sender", "author", "from", "sender_type", "participant"),
        *("speaker_id", "sender_id", "author_id", "user", "username", "name"),
    ),
    "text": ("text", "message", "content", "utterance", "body", "message_text"),
    "time": ("timestamp", "time", "datetime", "date_time", "created_at", "sent_at", "date"),
}
_ROLES = dict.fromkeys(("user", "customer", "client", "visitor", "human", "guest", "enduser", "caller"), "user")
_ROLES |= dict.fromkeys(("assistant", "bot", "chatbot", "agent", "system", "support", "operator"), "assistant")
_RASA_EVENT = regex.compile(r'"event"\s*:\s*"')
_RASA_TRACKER = regex.compile(r'"events"\s*:\s*\[')
_JSON_LIST = regex.compile(r"\s*\[\s*\{\s*\"")
_CHATTERBOT_YAML = regex.compile(r"^(?:categories|conversations)\s*:", regex.MULTILINE)
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
_NOT_CORPORA = {"readme", "license", "licence", "copying", "changelog", "authors", "citation"}


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What two or more people said in turn; `group` (film, show, dialogue) is never divided between splits.

    `roles` has "user" or "assistant" for each utterance, or is None where nobody said who is which.
    """

    id: str
    source: str
    group: str
    utterances: tuple[str, ...]
    roles: tuple[str, ...] | None = None


class Message(NamedTuple):
    """A line of a log: who said it, what, in which role ("user" or "assistant") and when, in seconds, where known."""

    speaker: str | None
    text: str
    role: str | None = None
    time: float | None = None


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
    """Reads documents of any known format; `dropped[source]` counts the lines that could not be read, by reason.

    `first_bad` has the name of each document with such lines and the number of its first, from 1 (in a list, of the
    first entry).
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
        if suffix in {".jsonl", ".ndjson"} or head.lstrip().startswith("{") or _JSON_LIST.match(head):
            return self._rasa_events if _RASA_EVENT.search(head) and not _RASA_TRACKER.search(head) else self._json
        if suffix in {".yml", ".yaml"} and _CHATTERBOT_YAML.search(head):
            return _chatterbot_yaml
        if suffix == ".csv" and "Answer.sentence1" in head:
            return _self_dialogue
        if suffix in {".csv", ".tsv"} and _columns(head):
            return self._table
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

    def _bad(self, document: Document, number: int, reason: str) -> None:
        self.dropped.setdefault(document.stem, Counter())[reason] += 1
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

    def _json(self, document: Document) -> Iterator[Dialogue]:
        """Chat, Rasa's trackers and ChatterBot's exports."""
        for number, record in self._records(document):
            try:
                yield from _dialogues_of(record, f"{document.name}/{number}", document.stem)
            except _UNREADABLE:
                self._bad(document, number, "unreadable line")

    def _rasa_events(self, document: Document) -> Iterator[Dialogue]:
        """What `rasa export` and the event brokers write: an event a record, the senders mixed."""
        for sender, messages in _by_conversation(self._rasa_messages(document)):
            yield from _rasa_dialogues(sender, messages, document.stem)

    def _rasa_messages(self, document: Document) -> Iterator[tuple[str, Message]]:
        for number, event in self._records(document):
            try:
                if message := _rasa_message(event):
                    yield str(event["sender_id"]), message
            except _UNREADABLE:
                self._bad(document, number, "unreadable line")

    def _records(self, document: Document) -> Iterator[tuple[int, Any]]:
        """JSON values and their numbers: the lines of a file, the entries of its list, or the file as one whole."""
        if not _has_json_lines(document):
            whole = _parsed_whole(document)
            yield from enumerate(whole if isinstance(whole, list) else [whole], 1)
            return
        for number, line in enumerate(document.lines(), 1):
            try:
                if line.strip():
                    yield number, json.loads(line)
            except (ValueError, RecursionError):
                self._bad(document, number, "unreadable line")

    def _table(self, document: Document) -> Iterator[Dialogue]:
        """A table with named columns: a row a message, the conversations mixed or not; or a question and its answer."""
        delimiter, columns = _columns(document.head) or (",", {})
        rows = self._rows(document, delimiter, max(columns.values()) + 1)
        if "answer" in columns:
            for number, row in rows:
                pair = (row[columns["question"]], row[columns["answer"]])
                yield _numbered(document, number, pair)
            return
        for id, messages in _by_conversation(_table_messages(rows, columns)):
            name = f"{document.stem}/{id}"
            yield _dialogue(name, document.stem, name, _in_talk(messages))

    def _rows(self, document: Document, delimiter: str, width: int) -> Iterator[tuple[int, list[str]]]:
        """The rows below the headings that are wide enough, with the number of the line each ends on."""
        table = csv.reader((f"{line}\n" for line in document.lines()), delimiter=delimiter)
        next(table)
        while True:
            try:
                row = next(table)
            except StopIteration:
                return
            except csv.Error:  # a quotation mark that is never closed, mostly
                row = [""]
            if len(row) >= width:
                yield table.line_num, row
            elif row:
                self._bad(document, table.line_num, "unreadable line")

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
    return tuple(message.text for message in _merged(Message(*message) for message in messages))


def _merged(messages: Iterable[Message]) -> list[Message]:
    merged: list[Message] = []
    for message in messages:
        if not (text := message.text.strip()):
            continue
        if merged and message.speaker is not None and message.speaker == merged[-1].speaker:
            before = merged[-1].text
            merged[-1] = merged[-1]._replace(text=f"{before}{'.' if before[-1].isalnum() else ''} {text}")
        else:
            merged.append(message._replace(text=text))
    return merged


def _dialogue(id: str, source: str, group: str, messages: Iterable[Message]) -> Dialogue:
    """What one speaker sends in a row as one utterance; with roles where every utterance has one."""
    merged = _merged(messages)
    roles = tuple(message.role for message in merged if message.role)
    known = roles if roles and len(roles) == len(merged) else None
    return Dialogue(id, source, group, tuple(message.text for message in merged), known)


def _by_conversation(rows: Iterable[tuple[str, Message]]) -> Iterator[tuple[str, list[Message]]]:
    """The messages of each conversation, wherever in a log they stand, in the order of their times if all have one.

    What is held is bounded: of too much, the conversation that has been silent for longest is taken as ended. What a
    log held before it broke off is not lost.
    """
    held: dict[str, list[Message]] = {}
    size, broken = 0, None
    try:
        for conversation, message in rows:
            held[conversation] = messages = held.pop(conversation, [])  # who spoke last stands last
            messages.append(message)
            size += _MESSAGE_BYTES + len(message.text)
            is_full = len(messages) >= MAX_LINES_A_DIALOGUE
            if is_full or size > MAX_HELD_BYTES:
                ended = conversation if is_full else next(iter(held))
                size -= sum(_MESSAGE_BYTES + len(message.text) for message in held[ended])
                yield ended, _in_time(held.pop(ended))
    except DocumentError as error:
        broken = error
    for conversation, messages in held.items():
        yield conversation, _in_time(messages)
    if broken:
        raise broken


def _in_time(messages: list[Message]) -> list[Message]:
    times = [message.time for message in messages if message.time is not None]
    if len(times) < len(messages):
        return messages
    return [message for _, message in sorted(zip(times, messages, strict=True), key=lambda timed: timed[0])]


def film_of(name: str) -> str:
    """The film or show a subtitle file belongs to: an episode's show is the folder it lies in."""
    path = PurePath(name)
    return path.parent.name if _EPISODE.search(path.stem) and path.parent.name else path.stem


def _has_json_lines(document: Document) -> bool:
    """Whether the file has a JSON object a line, rather than being one list or one object over many lines."""
    if PurePath(document.name).suffix.lower() in {".jsonl", ".ndjson"}:
        return True
    first, end, _ = document.head.lstrip().partition("\n")
    starts = [line for line in document.head.split("\n")[:20] if line.startswith("{")]
    return first.startswith("{") and (not end or any(map(_is_json, starts)))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parsed_whole(document: Document) -> Any:
    """Raises DocumentError where the file is not JSON."""
    try:
        return json.loads(document.text(MAX_PARSED_BYTES))
    except json.JSONDecodeError as error:
        raise DocumentError(f"invalid JSON in line {error.lineno}") from error
    except RecursionError as error:
        raise DocumentError("JSON within JSON without an end") from error


def _dialogues_of(record: dict[str, Any], id: str, source: str) -> Iterator[Dialogue]:
    if "events" in record:
        messages = filter(None, map(_rasa_message, record["events"]))
        yield from _rasa_dialogues(str(record["sender_id"]), _in_time(list(messages)), source)
    elif "messages" not in record and "conversations" in record:
        yield from _chatterbot(record["conversations"], source)
    else:
        yield _chat_dialogue(record, id, source)


def _chat_dialogue(record: dict[str, Any], id: str, source: str) -> Dialogue:
    id = str(record.get("id") or id)
    source = str(record.get("source") or source)
    messages = [
        Message(message.get("name") or message.get("role"), _content(message["content"]), _role(message.get("role")))
        for message in record["messages"]
        if message.get("role") not in _SPEAKERS_NOT_IN_TALK
    ]
    episode = _EPISODE.search(id)
    group = str(record.get("group") or (id[: episode.end()] if episode else id))
    return _dialogue(id, source, f"{source}/{group}", messages)


def _role(speaker: str | None) -> str | None:
    return _ROLES.get(speaker.strip().lower()) if speaker else None


def _content(content: str | list[dict[str, str]] | None) -> str:
    """A message's text; chat logs also write it as a list of parts, or null for a call of a tool."""
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


def _rasa_message(event: dict[str, Any]) -> Message | None:
    """A user's or the bot's words; without text, the end of a session; None for what nobody hears.

    A text with a slash is a payload (of a button) and stands for words that are not there.
    """
    kind, text, time = event["event"], event.get("text") or "", _seconds(str(event.get("timestamp")))
    if kind == "bot":
        return Message("bot", text, "assistant", time) if text.strip() else None
    if kind == "user":
        return Message("user", "" if text.startswith("/") else text, "user", time)
    return Message(None, "", None, time) if kind in {"restart", "session_started"} else None


def _rasa_dialogues(sender: str, messages: Iterable[Message], source: str) -> Iterator[Dialogue]:
    """The sessions of one sender."""
    group = f"{source}/{sender}"
    sessions = (session for is_talk, session in groupby(messages, lambda one: bool(one.text.strip())) if is_talk)
    for number, session in enumerate(sessions):
        yield _dialogue(f"{group}/{number}", source, group, session)


def _chatterbot_yaml(document: Document) -> Iterator[Dialogue]:
    """A corpus of ChatterBot."""
    try:
        yield from _chatterbot(_yaml_conversations(document.text(MAX_PARSED_BYTES)), document.stem)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise DocumentError(f"invalid YAML in line {mark.line + 1}" if mark else "invalid YAML") from error


def _yaml_conversations(text: str) -> Iterator[list[str]]:
    """The lists of words under `conversations:`, where `- Yes` is a word too.

    Taken from the parser's events: where YAML is nested deep, what loads it runs out of stack and kills the process.
    """
    depth, key, statements = 0, "", list[str]()
    for event in yaml.parse(text, yaml.CBaseLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > 3:
                raise DocumentError("no ChatterBot corpus")
        elif isinstance(event, yaml.CollectionEndEvent):
            if depth == 3 and key == "conversations":
                yield statements
                statements = []
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent):
            if depth == 1:
                key = event.value
            elif depth == 3 and key == "conversations":
                statements.append(event.value)


def _chatterbot(conversations: Iterable[list[str]], source: str) -> Iterator[Dialogue]:
    """Statements and responses in turn. One that goes on where the last ended belongs to that one's group."""
    before, group = "", 0
    for number, statements in enumerate(conversations):
        texts = [text for text in statements if isinstance(text, str)] if isinstance(statements, list) else []
        if len(texts) < 2:
            continue
        group = group if texts[0] == before else number
        before = texts[-1]
        messages = (Message(None, text, ("user", "assistant")[place % 2]) for place, text in enumerate(texts))
        yield _dialogue(f"{source}/{number}", source, f"{source}/{group}", messages)


def _columns(head: str) -> tuple[str, dict[str, int]] | None:
    """The delimiter of a table and the places of the columns that count, by its headings; None if those are unknown."""
    headings = head.split("\n", 1)[0]
    for delimiter in ",;\t|":
        names = [_heading(name) for name in next(csv.reader([headings], delimiter=delimiter), [])]
        columns = {column: _place(names, usual) for column, usual in _COLUMNS.items()}
        found = {column: place for column, place in columns.items() if place is not None}
        question, answer = _place(names, _QUESTIONS), _place(names, _ANSWERS)
        if question is not None and answer is not None and delimiter != "\t" and "conversation" not in found:
            return delimiter, {"question": question, "answer": answer}
        if "text" in found and found.keys() & {"conversation", "speaker"}:
            return delimiter, found
    return None


def _heading(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _place(names: list[str], usual: Iterable[str]) -> int | None:
    return next((names.index(name) for name in usual if name in names), None)


def _table_messages(rows: Iterable[tuple[int, list[str]]], columns: dict[str, int]) -> Iterator[tuple[str, Message]]:
    for _, row in rows:
        cells = {column: row[place].strip() for column, place in columns.items()}
        speaker = cells.get("speaker") or None
        time = _seconds(cells.get("time", ""))
        yield cells.get("conversation", "0"), Message(speaker, cells["text"], _role(speaker), time)


def _in_talk(messages: list[Message]) -> list[Message]:
    """Where an assistant speaks, `system` is who instructs it; elsewhere it may be the bot."""
    speakers = [(message.speaker or "").lower() for message in messages]
    if "assistant" not in speakers:
        return messages
    return [one for one, speaker in zip(messages, speakers, strict=True) if speaker not in _SPEAKERS_NOT_IN_TALK]


def _seconds(time: str) -> float | None:
    """A time in seconds or in ISO 8601; None if it is neither, so that nothing is sorted by a guess."""
    with suppress(ValueError):
        return float(time) if isfinite(float(time)) else None
    with suppress(ValueError):
        moment = datetime.fromisoformat(time)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


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
