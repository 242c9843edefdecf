"""The corpora of the table of results: dialogues of three utterances, as MovieTriples has them (paper, section 4.1).

A dialogue is cut into windows that do not overlap, so that every word is a target once an epoch and is scored once; the
one or two utterances left over at its end are dropped. They are kept as a prepared folder (see data.preparation).
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import compress
from pathlib import Path

import numpy as np
import regex

from data.corpus import Corpus, DocumentError
from data.formats.dialogue import Dialogue
from data.formats.reader import DialogueReader
from data.preparation import SPLITS, PrepareConfig, PrepareError, clean, prepare
from data.store import StoreWriter, TokenStore
from data.vocabulary import UNK, Vocabulary

WINDOW = 3  # utterances
VOCABULARY_SIZE = 10_000
LONG = (
    8  # tokens; of DailyDialog's test utterances as long or longer a quarter was heard in training, whatever the bound
)
HELD_OUT = 0.1  # of the episodes are the test and as many validation, as MovieTriples divides its films


@dataclass(frozen=True, slots=True)
class Source:
    """How a corpus is found: `documents` matches the names of its files, plain or in archives. A file's name tells its
    split, or else a dialogue's group (its episode) does."""

    title: str
    documents: regex.Pattern[str]
    where: str  # how to get it


SOURCES = {
    "dailydialog": Source(
        "DailyDialog",
        regex.compile(r"(?:dialogues_|dailydialog\.)(?P<split>train|validation|test)\."),
        "get it with `chatbot fetch dailydialog`",
    ),
    "startrek": Source(
        "Star Trek",
        regex.compile(r"startrek"),
        "put startrek.jsonl there, chat JSONL of a scene a line with ids such as startrek/tng/s05e09/12, made from the "
        "scripts of github.com/jkingsman/Star-Trek-Script-Programmatics",
    ),
}


@dataclass(slots=True)
class Windows:
    """The windows of one split, and the dialogue each was cut from."""

    utterances: list[list[list[str]]] = field(default_factory=list)  # of windows, of utterances, of tokens
    dialogues: list[int] = field(default_factory=list)

    def where(self, chosen: Sequence[bool]) -> "Windows":
        return Windows(list(compress(self.utterances, chosen)), list(compress(self.dialogues, chosen)))


def prepare_windows(name: str, corpora: Path, out: Path) -> None:
    """Writes the windows of a corpus as the prepared folder `out`, whole or not at all. Of its test windows,
    `origin.npy` tells the dialogue of each, `fresh.npy` those of which training has no long utterance; what is chosen
    by validation is chosen on fresh windows only.

    Raises PrepareError with one sentence where the corpus is missing or lacks a split.
    """
    splits, heard = _read(name, corpora)
    fresh = {split: _fresh(splits[split], heard) for split in ("validation", "test")}
    splits["validation"] = splits["validation"].where(fresh["validation"])
    counts = Counter(token for window in splits["train"].utterances for tokens in window for token in tokens)
    vocabulary = Vocabulary.from_counts(counts, VOCABULARY_SIZE)
    with _new_folder(out) as folder:
        vocabulary.save(folder / "vocabulary.json")
        for split, windows in splits.items():
            _write(folder / "dialogues" / split, windows, vocabulary)
            StoreWriter(folder / "pairs" / split).close()
        np.save(folder / "origin.npy", splits["test"].dialogues)
        np.save(folder / "fresh.npy", fresh["test"])
        (folder / "report.json").write_text(json.dumps(_sizes(folder)), encoding="utf-8")


def add_subtitles(windows: Path, corpora: Path, out: Path) -> None:
    """Writes a prepared folder of the same windows and vocabulary and of the subtitles' pairs, whole or not at all.

    Raises PrepareError with one sentence where there are no subtitles.
    """
    found = sorted(map(str, corpora.glob("*[sS]ubtitles*")))
    if not found:
        raise PrepareError(f"There are no subtitles in {corpora}; get them with `chatbot fetch opensubtitles`.")
    with _new_folder(out) as folder:
        prepare(found, folder / "subtitles", PrepareConfig(vocabulary=windows / "vocabulary.json"))
        shutil.copytree(folder / "subtitles" / "pairs", folder / "pairs")
        shutil.rmtree(folder / "subtitles")
        shutil.copytree(windows, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("pairs"))


def _read(name: str, corpora: Path) -> tuple[dict[str, Windows], set[str]]:
    """The windows of each split, and the keys of the long utterances of training."""
    splits = {split: Windows() for split in SPLITS}
    heard: set[str] = set()
    for number, (split, dialogue) in enumerate(_dialogues(name, corpora)):
        for run in clean(dialogue, Counter()):
            cuts = [run[first : first + WINDOW] for first in range(0, len(run) - WINDOW + 1, WINDOW)]
            splits[split].utterances += cuts
            splits[split].dialogues += [number] * len(cuts)
            if split == "train":
                heard.update(_key(tokens) for tokens in run if len(tokens) >= LONG)
    missing = [split for split in SPLITS if not splits[split].utterances]
    if missing:
        source = SOURCES[name]
        raise PrepareError(f"There are no {source.title} dialogues for {missing[0]} in {corpora}: {source.where}.")
    return splits, heard


def _dialogues(name: str, corpora: Path) -> Iterator[tuple[str, Dialogue]]:
    """Each with its split."""
    files = sorted(corpora.glob(f"*{name}*")) if corpora.is_dir() else []
    for document in Corpus(files, lambda name, reason: None).documents():
        found = SOURCES[name].documents.match(Path(document.name).name)
        try:
            for dialogue in DialogueReader().read(document) if found else ():
                if found and isinstance(dialogue, Dialogue):
                    yield found.groupdict().get("split") or _split_of(dialogue.group), dialogue
        except DocumentError as error:
            raise PrepareError(f"{document.name} cannot be used ({error}); get it anew.") from error


def _split_of(group: str) -> str:
    share = int.from_bytes(blake2b(group.encode(), digest_size=8).digest()) / 2.0**64
    return "test" if share < HELD_OUT else "validation" if share < 2 * HELD_OUT else "train"


def _fresh(windows: Windows, heard: set[str]) -> list[bool]:
    """Whether no long utterance of each window is among those heard."""
    return [
        not any(len(tokens) >= LONG and _key(tokens) in heard for tokens in window) for window in windows.utterances
    ]


def _key(tokens: Sequence[str]) -> str:
    """Equal for utterances that differ in case, spaces and punctuation only."""
    return "".join(filter(str.isalnum, "".join(tokens))).lower()


def _write(folder: Path, windows: Windows, vocabulary: Vocabulary) -> None:
    with StoreWriter(folder, np.uint16) as writer:
        for window in windows.utterances:
            ids = np.array([vocabulary.id_of(token) for tokens in window for token in tokens])
            writer.extend(ids, np.array([len(tokens) for tokens in window]), np.array([len(window)]))


def _sizes(folder: Path) -> dict[str, dict[str, float]]:
    """Of each split the windows, the target tokens of an epoch, and the share of them that is unknown."""
    stores = {split: TokenStore.open(folder / "dialogues" / split) for split in SPLITS}
    return {
        split: {
            "windows": len(store),
            "target_tokens": len(store.tokens) + len(store.utterances) - 1,
            "unknown": float((store.tokens == UNK).mean()),
        }
        for split, store in stores.items()
    }


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes it once all is written; one that a killed run left is written anew."""
    folder = out.with_name(f".{out.name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    folder.rename(out)
