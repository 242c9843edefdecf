"""Corpora -> prepared folder, in two passes that hold no corpus in memory.

The first pass reads, cleans and tokenises, and writes provisional ids to a scratch store with a hash of each dialogue
and of its group. The second is arrays only: it leaves out what was said twice, splits by group, counts the words of
the training split, and writes every split with the ids of the final vocabulary.
"""

import json
import shutil
import signal
import tempfile
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np

from data.cleaning import MAX_CHARACTERS, damage, fault, normalise, plain
from data.corpus import Corpus, DocumentError
from data.formats.corpora import INSTALLED
from data.formats.dialogue import Dialogue
from data.formats.reader import DialogueReader, Film
from data.store import StoreWriter, TokenStore
from data.tokenizer import JOINER, tokenise
from data.vocabulary import UNK, Vocabulary

_NOT_FIXED = -1  # in place of a split, where the corpus assigns none
KINDS = ("pairs", "dialogues")
SPLITS = ("train", "validation", "test")
VALIDATION_SHARE = TEST_SHARE = 0.01
BATCH_UTTERANCES = 2_000
FILM_UTTERANCES = 1_000  # about
CHUNK_DIALOGUES = 50_000
SMALL_CORPUS_BYTES = 4 << 20  # below this a second process costs more than it saves
_SENTENCE_ENDS = (".", "!", "?")


class PrepareError(ValueError):
    """Nothing could be prepared; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class PrepareConfig:
    """`max_gap` is in seconds; an existing `vocabulary` is kept as it is and `vocabulary_size` ignored.

    Without `clean`, text is taken as it is: in any language, up to `data.cleaning.MAX_DOCUMENT_TOKENS` long.
    """

    vocabulary_size: int = 20_000
    vocabulary: Path | None = None
    max_gap: float = 1.0
    seed: int = 0
    clean: bool = True


@dataclass(slots=True)
class Report:
    """What became of the corpora, counted in utterances (before joining, in subtitles: in cues)."""

    kept: dict[str, Counter[str]] = field(default_factory=dict)  # by source: dialogues, utterances, tokens
    dropped: dict[str, Counter[str]] = field(default_factory=dict)  # by source: reason -> utterances
    skipped: list[tuple[str, str]] = field(default_factory=list)  # files and why
    unread: list[str] = field(default_factory=list)  # which lines could not be read, and what was expected
    splits: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)  # kind -> split -> sizes
    vocabulary: int = 0
    unknown: float = 0.0  # share of all kept tokens that the vocabulary does not hold

    def drop(self, source: str, reasons: Counter[str]) -> None:
        self.dropped.setdefault(source, Counter()).update(reasons)

    def save(self, path: Path) -> None:
        names = ("kept", "dropped", "skipped", "unread", "splits", "vocabulary", "unknown")
        path.write_text(json.dumps({name: getattr(self, name) for name in names}, indent=2), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Piece:
    """An unbroken run of fit utterances, tokenised; `key` is equal for what reads the same.

    `split` is the one that its corpus assigns, if it does.
    """

    source: str
    group: str
    key: int
    utterances: list[list[str]]
    split: str | None = None


# A batch of pieces, what was dropped by source and reason, and the films that could not be used and why.
Cleaned = tuple[list[Piece], dict[str, Counter[str]], list[tuple[str, str]]]


def prepare(
    sources: Sequence[str], out: Path, config: PrepareConfig, on_progress: Callable[[int, int], None] | None = None
) -> Report:
    """Writes the prepared folder `out` and returns the report; `on_progress(bytes read, of all)` is called often.

    Raises PrepareError where a source is missing, `out` is in the way, or nothing is fit; `out` is then untouched.
    """
    vocabulary = _load_vocabulary(config.vocabulary) if config.vocabulary else None
    report = Report()
    corpus = Corpus(_paths_of(sources), lambda name, reason: report.skipped.append((name, reason)))
    reader = DialogueReader(config.max_gap)
    with _new_folder(out) as folder:
        with Scratch(folder / "scratch", config.seed) as scratch:
            installed = [name for name in INSTALLED if name in sources]
            dialogues = _read_all(corpus, reader, installed)
            for pieces, dropped, skipped in _cleaned(dialogues, not config.clean, corpus.size > SMALL_CORPUS_BYTES):
                scratch.extend(pieces)
                report.skipped.extend(skipped)
                for source, reasons in dropped.items():
                    report.drop(source, reasons)
                if on_progress:
                    on_progress(corpus.position, corpus.size)
        for source, reasons in reader.dropped.items():
            report.drop(source, reasons)
        report.unread = reader.unread_lines()
        if not scratch.keys:
            raise PrepareError(_nothing_left(report))
        _write_splits(scratch, folder, config, vocabulary, report)
        shutil.rmtree(folder / "scratch")
        report.save(folder / "report.json")
    return report


def clean(dialogue: Dialogue, dropped: Counter[str], as_it_is: bool = False) -> Iterator[list[list[str]]]:
    """The tokens of each unbroken run of two or more fit utterances; an unfit one breaks a dialogue in two.

    Text taken `as_it_is` is not mended and may be unlike talk; it is unfit only where nothing can be learned from it.
    """
    for run in fit_runs(dialogue.utterances, dropped, as_it_is):
        yield [tokens for _, tokens in run]


def fit_runs(
    utterances: Iterable[str], dropped: Counter[str], as_it_is: bool = False
) -> Iterator[list[tuple[int, list[str]]]]:
    """As `clean`, each utterance's tokens with its place in the dialogue."""
    mend, why_unfit = (plain, damage) if as_it_is else (normalise, fault)
    run: list[tuple[int, list[str]]] = []
    for place, text in enumerate((*utterances, None)):
        if text is not None:
            mended = mend(text) if len(text) <= MAX_CHARACTERS else ""
            tokens = tokenise(mended)
            reason = why_unfit(mended, len(tokens)) if len(text) <= MAX_CHARACTERS else "too long"
            if reason is None:
                run.append((place, tokens))
                continue
            dropped[reason] += 1
        if len(run) == 2 and run[0][1] == run[1][1] and not as_it_is:
            dropped["echo"] += 2
        elif len(run) > 1:
            yield run
        else:
            dropped["left alone"] += len(run)
        run = []


class Scratch:
    """The first pass's store: provisional ids on disk, and per dialogue in memory its key, group, source and split."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.ids: dict[str, int] = {}
        self.sources: dict[str, int] = {}
        self.keys, self.groups, self.source_of, self.fixed = array("Q"), array("Q"), array("H"), array("b")
        self._seed = seed
        self._writer = StoreWriter(folder)

    def extend(self, pieces: Sequence[Piece]) -> None:
        tokens, utterances, dialogues = array("i"), array("i"), array("i")
        for piece in pieces:
            self.keys.append(piece.key)
            self.groups.append(_hash(f"{self._seed}/{piece.group}"))
            self.source_of.append(self.sources.setdefault(piece.source, len(self.sources)))
            self.fixed.append(SPLITS.index(piece.split) if piece.split else _NOT_FIXED)
            dialogues.append(len(piece.utterances))
            for utterance in piece.utterances:
                utterances.append(len(utterance))
                tokens.extend(self.ids.setdefault(token, len(self.ids)) for token in utterance)
        self._writer.extend(*(np.frombuffer(part, np.int32) for part in (tokens, utterances, dialogues)))

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some dialogues of a store as plain arrays: ids, tokens in each utterance, utterances in each dialogue."""

    tokens: np.ndarray
    utterances: np.ndarray
    dialogues: np.ndarray

    def where(self, chosen: np.ndarray) -> "Chunk":
        """Only the dialogues that a mask chooses."""
        utterances = np.repeat(chosen, self.dialogues)
        return Chunk(
            self.tokens[np.repeat(utterances, self.utterances)], self.utterances[utterances], self.dialogues[chosen]
        )


def chunks(folder: Path) -> Iterator[tuple[slice, Chunk]]:
    """A store in order, some dialogues at a time. It is opened anew for each, or every page read would stay mapped."""
    start, length = 0, len(TokenStore.open(folder))
    while start < length:
        store = TokenStore.open(folder)
        end = min(start + CHUNK_DIALOGUES, length)
        dialogues = np.array(store.dialogues[start : end + 1])
        utterances = np.array(store.utterances[dialogues[0] : dialogues[-1] + 1])
        tokens = np.array(store.tokens[utterances[0] : utterances[-1]])
        yield slice(start, end), Chunk(tokens, np.diff(utterances), np.diff(dialogues))
        start = end


def assign_splits(groups: np.ndarray, is_pair: np.ndarray) -> np.ndarray:
    """The split of each dialogue as an index into SPLITS, by the hash (uint64) of its group.

    Two exceptions keep the splits useful: a group that alone would outgrow its share, such as a show of many seasons,
    stays in training; and where pairs or longer dialogues of three groups or more would have an empty split, the group
    of the lowest hash in training moves there. Shape (D,) of both arguments and of the result.
    """
    share = groups / 2.0**64
    splits = np.where(share < TEST_SHARE, 2, np.where(share < TEST_SHARE + VALIDATION_SHARE, 1, 0)).astype(np.int8)
    for kind in (is_pair, ~is_pair):
        names, sizes = np.unique(groups[kind], return_counts=True)
        splits[np.isin(groups, names[sizes > max(1, TEST_SHARE * kind.sum())])] = 0
    for kind in (is_pair, ~is_pair):
        if len(np.unique(groups[kind])) < 3:
            continue
        for split in (1, 2):
            spare = groups[kind & (splits == 0)]
            if not (kind & (splits == split)).any() and len(spare):
                splits[groups == spare.min()] = split
    return splits


def _read_all(corpus: Corpus, reader: DialogueReader, installed: Iterable[str]) -> Iterator[Dialogue | Film]:
    for name in installed:
        yield from INSTALLED[name]()
    for document in corpus.documents():
        try:
            yield from reader.read(document)
        except DocumentError as error:
            corpus.on_bad(document.name, str(error))
    for name, reason in reader.left_over():
        corpus.on_bad(name, reason)


def _cleaned(dialogues: Iterator[Dialogue | Film], as_it_is: bool, parallel: bool) -> Iterator[Cleaned]:
    """Cleans batch by batch, in order, on all cores where the corpus is worth it."""
    batches, clean_batch = _batches(dialogues), partial(_clean_batch, as_it_is=as_it_is)
    if not parallel:
        yield from map(clean_batch, batches)
        return
    with ProcessPoolExecutor(initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        # A pool's own map would read the whole corpus ahead; here a few batches wait and no more.
        waiting: deque[Future[Cleaned]] = deque(pool.submit(clean_batch, batch) for batch in islice(batches, 8))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(clean_batch, batch) for batch in islice(batches, 1))


def _batches(dialogues: Iterable[Dialogue | Film]) -> Iterator[list[Dialogue | Film]]:
    batch: list[Dialogue | Film] = []
    size = 0
    for dialogue in dialogues:
        batch.append(dialogue)
        size += len(dialogue.utterances) if isinstance(dialogue, Dialogue) else FILM_UTTERANCES
        if size >= BATCH_UTTERANCES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _clean_batch(batch: list[Dialogue | Film], as_it_is: bool) -> Cleaned:
    pieces: list[Piece] = []
    dropped: dict[str, Counter[str]] = {}
    skipped: list[tuple[str, str]] = []
    for one in batch:
        reasons = dropped.setdefault(one.source, Counter())
        try:
            for dialogue in [one] if isinstance(one, Dialogue) else one.dialogues(reasons):
                for utterances in clean(dialogue, reasons, as_it_is):
                    pieces.append(Piece(one.source, dialogue.group, _key(utterances), utterances, dialogue.split))
        except DocumentError as error:
            skipped.append((one.id if isinstance(one, Dialogue) else one.name, str(error)))
    return pieces, dropped, skipped


def _key(utterances: Sequence[Sequence[str]]) -> int:
    """Equal for dialogues that differ in case, spaces and punctuation only."""
    words = ("".join(filter(str.isalnum, "".join(tokens))) for tokens in utterances)
    return _hash("\n".join(words).lower())


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


def _write_splits(
    scratch: Scratch, folder: Path, config: PrepareConfig, vocabulary: Vocabulary | None, report: Report
) -> None:
    keys, groups = (np.frombuffer(column, np.uint64) for column in (scratch.keys, scratch.groups))
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    is_pair = np.concatenate([chunk.dialogues == 2 for _, chunk in chunks(scratch.folder)])
    fixed = np.frombuffer(scratch.fixed, np.int8)
    splits = np.where(fixed == _NOT_FIXED, assign_splits(groups, is_pair), fixed)
    _tally(scratch, first, report)
    if vocabulary is None:
        counts, inner = (_named(scratch, tally) for tally in _count_words(scratch, first & (splits == 0)))
        vocabulary = Vocabulary.from_counts(counts, config.vocabulary_size, inner)
    vocabulary.save(folder / "vocabulary.json")
    report.vocabulary = len(vocabulary)
    final = np.array([vocabulary.id_of(token) for token in scratch.ids])
    final = final.astype(np.uint16 if len(vocabulary) < 65_536 else np.int32)
    masks = {
        (kind, split): first & of_kind & (splits == place)
        for kind, of_kind in zip(KINDS, (is_pair, ~is_pair), strict=True)
        for place, split in enumerate(SPLITS)
    }
    _write_stores(scratch, folder, masks, final, report)
    _write_sources(scratch, folder, masks)


def _tally(scratch: Scratch, first: np.ndarray, report: Report) -> None:
    """Counts what is kept and what was said before, by source."""
    sources = np.frombuffer(scratch.source_of, np.uint16)
    for place, chunk in chunks(scratch.folder):
        for number, source in enumerate(scratch.sources):
            of_source = sources[place] == number
            kept = chunk.where(of_source & first[place])
            sizes = {"dialogues": len(kept.dialogues), "utterances": len(kept.utterances), "tokens": len(kept.tokens)}
            report.kept.setdefault(source, Counter()).update(sizes)
            report.drop(source, Counter(duplicate=int(chunk.dialogues[of_source & ~first[place]].sum())))


def _count_words(scratch: Scratch, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each provisional id occurs in the chosen dialogues: anywhere, and where no sentence begins."""
    ends = np.array([token.strip(JOINER)[-1:] in _SENTENCE_ENDS for token in scratch.ids])
    totals, inner = np.zeros((2, len(ends)), np.int64)
    for place, chunk in chunks(scratch.folder):
        kept = chunk.where(chosen[place])
        opens = np.zeros(len(kept.tokens) + 1, bool)
        opens[1:] = ends[kept.tokens]
        opens[np.cumsum(kept.utterances)] = opens[0] = True
        totals += np.bincount(kept.tokens, minlength=len(ends))
        inner += np.bincount(kept.tokens[~opens[:-1]], minlength=len(ends))
    return totals, inner


def _named(scratch: Scratch, counts: np.ndarray) -> dict[str, int]:
    return {token: int(count) for token, count in zip(scratch.ids, counts, strict=True) if count}


def _write_stores(
    scratch: Scratch, folder: Path, masks: dict[tuple[str, str], np.ndarray], final: np.ndarray, report: Report
) -> None:
    unknown = total = 0
    with ExitStack() as stack:
        writers = {key: stack.enter_context(StoreWriter(folder / key[0] / key[1], final.dtype)) for key in masks}
        for place, chunk in chunks(scratch.folder):
            for key, mask in masks.items():
                kept = chunk.where(mask[place])
                tokens = final[kept.tokens]
                writers[key].extend(tokens, kept.utterances, kept.dialogues)
                unknown += int((tokens == UNK).sum())
                total += len(tokens)
    report.unknown = unknown / max(1, total)
    for kind, split in masks:
        store = TokenStore.open(folder / kind / split)
        sizes = {"dialogues": len(store), "utterances": len(store.utterances) - 1, "tokens": len(store.tokens)}
        report.splits.setdefault(kind, {})[split] = sizes


def _write_sources(scratch: Scratch, folder: Path, masks: dict[tuple[str, str], np.ndarray]) -> None:
    """Which corpus each dialogue is of, by its place among the names of all."""
    sources = np.frombuffer(scratch.source_of, np.uint16)
    for (kind, split), mask in masks.items():
        np.save(folder / kind / split / "sources.npy", sources[mask])
    (folder / "sources.json").write_text(json.dumps(list(scratch.sources)), encoding="utf-8")


def _paths_of(sources: Sequence[str]) -> list[Path]:
    paths = [Path(source) for source in sources if source not in INSTALLED]
    for path in paths:
        if not path.exists():
            names = " or ".join(INSTALLED)
            raise PrepareError(f"{path} does not exist; give a file, a folder or the name {names}.")
    return paths


def _load_vocabulary(path: Path) -> Vocabulary:
    try:
        return Vocabulary.load(path)
    except (OSError, ValueError) as error:
        raise PrepareError(f"{path} is not a vocabulary; give the vocabulary.json of a prepared folder.") from error


def _nothing_left(report: Report) -> str:
    found = [f"{Path(name).name}: {reason}" for name, reason in report.skipped[:3]]
    reasons: Counter[str] = sum(report.dropped.values(), Counter())
    found += [f"{count} utterances were left out ({reason})" for reason, count in reasons.most_common(3)]
    return f"No dialogue is left to learn from: {'; '.join(found) or 'the sources hold no files'}."


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place once all is written, or vanishes."""
    if out.exists() and not (out / "report.json").exists() and not (out.is_dir() and not any(out.iterdir())):
        raise PrepareError(f"{out} is in the way and no prepared corpus; give another --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as beside:
        folder = Path(beside) / "new"
        folder.mkdir()
        yield folder
        if out.exists():
            out.rename(Path(beside) / "old")
        folder.rename(out)
