"""The public corpora that have formats of their own: chitchat, ours, Cornell, DailyDialog, self_dialogue, ParlAI's."""

import csv
import json
import lzma
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import regex

from data.corpus import Document
from data.formats.dialogue import MAX_LINES_A_DIALOGUE, Dialogue, Losses, merge_turns, numbered, unnamed

CHITCHAT = "chitchat"
CORNELL_FIELD = " +++$+++ "
_WRITTEN = Path(__file__).parents[1] / "written"


def chitchat() -> Iterator[Dialogue]:
    """The corpus of the chitchat-dataset package: 7,168 chats of two people."""
    from chitchat_dataset import Dataset

    for id, conversation in Dataset().items():
        messages = [(one["sender"], one["text"]) for turn in conversation["messages"] for one in turn]
        yield Dialogue(f"{CHITCHAT}/{id}", CHITCHAT, f"{CHITCHAT}/{id}", merge_turns(messages))


def written() -> Iterator[Dialogue]:
    """The conversations that were written for this program, a person's with the chatbot, in splits that never change.

    Those of the test split are for measuring only: whoever writes more, or tunes a setting, does not read them.
    """
    for file in sorted(_WRITTEN.glob("*.jsonl.xz")):
        with lzma.open(file, "rt", encoding="utf-8") as lines:
            for record in map(json.loads, lines):
                roles, texts = zip(*((one["role"], one["content"]) for one in record["messages"]), strict=True)
                yield Dialogue(record["id"], "written", record["id"], texts, roles, split=file.name.partition(".")[0])


# The corpora that every installation has, by name.
INSTALLED: dict[str, Callable[[], Iterator[Dialogue]]] = {CHITCHAT: chitchat, "written": written}


def cornell(lines: Iterable[str], conversations: Iterable[str], losses: Losses) -> Iterator[Dialogue]:
    """Cornell's film dialogues, out of the file of lines and that of the conversations they belong to."""
    spoken = {}
    for line in lines:
        fields = line.split(CORNELL_FIELD)
        if len(fields) == 5:
            spoken[fields[0]] = (fields[1], fields[4])
        elif line.strip():
            losses.leave_out("unreadable line")
    for number, line in enumerate(conversations):
        fields = line.split(CORNELL_FIELD)
        ids = regex.findall(r"L\d+", fields[-1]) if len(fields) == 4 else []
        messages = [spoken[id] for id in ids if id in spoken]
        if len(messages) < len(ids) or (not ids and line.strip()):
            losses.leave_out("unreadable line")
        if messages:
            yield Dialogue(f"cornell/{number}", "cornell", f"cornell/{fields[2]}", merge_turns(messages))


def daily_dialog(document: Document, losses: Losses) -> Iterator[Dialogue]:
    """DailyDialog: a line a dialogue, `__eou__` at the end of each utterance."""
    for number, line in enumerate(document.lines()):
        utterances = tuple(turn.strip() for turn in line.split("__eou__") if turn.strip())
        if utterances and "__eou__" not in line:
            losses.bad(number + 1)
        elif utterances:
            id = f"dailydialog/{document.stem}/{number}"
            yield Dialogue(id, "dailydialog", id, utterances)


def self_dialogue(document: Document) -> Iterator[Dialogue]:
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


def parlai(document: Document, losses: Losses) -> Iterator[Dialogue]:
    """ParlAI's text: `text:…<tab>labels:…<tab>episode_done:True`."""
    turns: list[str] = []
    episode = 0
    for place, line in enumerate(document.lines(), 1):
        fields = dict(part.split(":", 1) for part in line.split("\t") if ":" in part)
        if "text" not in fields:
            if line.strip():
                losses.bad(place)
            continue
        turns.append(_spoken(fields.get("text", "")))
        turns.append(_spoken((fields.get("labels") or fields.get("eval_labels") or "").split("|")[0]))
        if fields.get("episode_done") == "True" or len(turns) > MAX_LINES_A_DIALOGUE:
            yield numbered(document, episode, unnamed(turns))
            turns, episode = [], episode + 1
    if turns:
        yield numbered(document, episode, unnamed(turns))


def parlai_numbered(document: Document, losses: Losses) -> Iterator[Dialogue]:
    """ParlAI's older text: `1 question<tab>answer`, the number beginning again with each dialogue."""
    turns: list[str] = []
    episode = 0
    for place, line in enumerate(document.lines(), 1):
        number, _, rest = line.partition(" ")
        if line.strip() and not number.isdecimal():
            losses.bad(place)
            continue
        if number == "1" and turns:
            yield numbered(document, episode, unnamed(turns))
            turns, episode = [], episode + 1
        if "\t" in rest:  # a line without an answer is background, such as a persona
            turns += map(_spoken, rest.split("\t")[:2])
    if turns:
        yield numbered(document, episode, unnamed(turns))


def _spoken(text: str) -> str:
    """What is said in lines that are divided by a written `\\n`, some of which say who is to be played."""
    lines = (line.strip() for line in text.split(r"\n"))
    return " ".join(line for line in lines if not line.startswith(("your persona:", "partner's persona:")))
