"""Files of a corpus, wherever they lie: in folders, compressed, or inside archives.

Knows bytes and their encoding, not what the text means.
"""

import codecs
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import IO, Any, BinaryIO

import charset_normalizer

HEAD_BYTES = 1 << 16
MAX_DOCUMENT_BYTES = 1 << 28  # a file that must be read whole
MAX_LINE_CHARACTERS = 1 << 24

_COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
BROKEN = (EOFError, OSError, lzma.LZMAError, zlib.error, tarfile.TarError, zipfile.BadZipFile, RuntimeError)


class DocumentError(ValueError):
    """A file that cannot be read as a corpus; the message says why in a few words, fit to stand behind its name."""


class Document:
    """One file of a corpus, read from its start: `head`, then `lines()` or `text()`, once.

    Raises DocumentError where the file is empty or binary, and later where it turns out to be truncated.
    """

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self.name = name
        self.too_long: list[int] = []  # numbers of the lines that were skipped, as far as `lines` has come
        self._stream = stream
        self._head = self._read(HEAD_BYTES)
        if not self._head.strip():
            raise DocumentError("empty")
        self.encoding = encoding_of(self._head)

    @property
    def stem(self) -> str:
        """The file's own name without folders and endings."""
        return Path(self.name).name.split(".")[0]

    @property
    def head(self) -> str:
        """The first 64 KiB of text."""
        return codecs.getincrementaldecoder(self.encoding)("replace").decode(self._head)

    def lines(self) -> Iterator[str]:
        """Lines without their ends; memory does not grow with the file.

        A line of over MAX_LINE_CHARACTERS comes empty, and its number, from 1, goes to `too_long`.
        """
        rest, number, skips = "", 0, False
        for text in codecs.iterdecode(self._blocks(), self.encoding, errors="replace"):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                yield "" if skips else line.rstrip("\r")
                skips = False
            number += len(lines)
            if len(rest) > MAX_LINE_CHARACTERS and not skips:
                self.too_long.append(number + 1)
                skips = True
            rest = "" if skips else rest
        if rest:
            yield rest

    def text(self, limit: int = MAX_DOCUMENT_BYTES) -> str:
        """The whole file of at most so many bytes with plain line ends, for what cannot be read line by line."""
        content = b"".join(self._blocks(limit))
        encoding = encoding_of(content)
        return content.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")

    def _blocks(self, limit: int | None = None) -> Iterator[bytes]:
        block, size = self._head, 0
        while block:
            size += len(block)
            if limit is not None and size > limit:
                raise DocumentError(f"larger than {limit >> 20} MiB")
            yield block
            block = self._read(1 << 20)

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except BROKEN as error:
            raise DocumentError("truncated or damaged") from error


def encoding_of(content: bytes) -> str:
    """The encoding of text that may be cut in mid-character at its end.

    Raises DocumentError where the bytes are no text at all.
    """
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            return name
    if content.count(0) > len(content) // 4:
        # English in UTF-16 without a mark: every other byte is zero.
        if content[1::2].count(0) > 0.7 * len(content[1::2]) and content[::2].count(0) == 0:
            return "utf-16-le"
        if content[::2].count(0) > 0.7 * len(content[::2]) and content[1::2].count(0) == 0:
            return "utf-16-be"
    if _is_binary(content):
        raise DocumentError("binary, not text")
    return "utf-8" if _is_utf8(content) else _legacy_encoding(content)


def _is_binary(content: bytes) -> bool:
    control = sum(content.count(byte) for byte in (*range(7), *range(14, 27)))
    return control > len(content) // 100


def _is_utf8(content: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)
    except UnicodeDecodeError:
        return False
    return True


def _legacy_encoding(content: bytes) -> str:
    """cp1252, in which English was mostly written, unless foreign bytes abound and speak for another."""
    high = sum(byte > 127 for byte in content[:HEAD_BYTES])
    if high * 10 < min(len(content), HEAD_BYTES):
        return "cp1252"
    best = charset_normalizer.from_bytes(content[:HEAD_BYTES]).best()
    return best.encoding if best else "cp1252"


class Corpus:
    """The files under some paths, in the order of their names; `position` of `size` bytes on disk are behind it.

    `on_bad(name, reason)` hears of every file that cannot be opened or read.
    """

    def __init__(self, paths: Sequence[Path], on_bad: Callable[[str, str], None]) -> None:
        self.files = [file for path in paths for file in _files_under(path)]
        self.size = sum(file.stat().st_size for file in self.files)
        self.on_bad = on_bad
        self._finished = 0
        self._open: BinaryIO | None = None

    @property
    def position(self) -> int:
        return self._finished + (self._open.tell() if self._open and not self._open.closed else 0)

    def documents(self) -> Iterator[Document]:
        """Every file that opens as text; members of archives are named `archive.tar/member`."""
        for file in self.files:
            try:
                size = file.stat().st_size
                self._open = file.open("rb")
            except OSError:
                self.on_bad(str(file), "not readable")
                continue
            with self._open:
                yield from self._unpacked(str(file), self._open)
            self._finished += size

    def _unpacked(self, name: str, stream: IO[bytes]) -> Iterator[Document]:
        """What a stream holds, opened as far as its name says it is packed."""
        suffix = Path(name).suffix.lower()
        try:
            if suffix in _COMPRESSED:
                yield from self._unpacked(name[: -len(suffix)], _COMPRESSED[suffix](stream))
            elif suffix in {".tar", ".tgz", ".txz", ".zip"}:
                members = _zip_members(stream) if suffix == ".zip" else _tar_members(stream)
                for member, content in members:
                    yield from self._unpacked(f"{name}/{member}", content)
            else:
                yield Document(name, stream)
        except DocumentError as error:
            self.on_bad(name, str(error))
        except BROKEN:
            self.on_bad(name, "truncated or damaged")


def _files_under(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in _walk(path, set()) if file.is_file() and not _is_hidden(file.relative_to(path)))


def _walk(folder: Path, entered: set[Path]) -> Iterator[Path]:
    """Everything in a folder and in those below it, linked ones too, each folder once however it is reached."""
    if folder.resolve() in entered or not os.access(folder, os.R_OK | os.X_OK):
        return
    entered.add(folder.resolve())
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, entered)
        else:
            yield entry


def _is_hidden(path: PurePath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _tar_members(stream: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content and not _is_hidden(PurePath(member.name)):
                yield member.name, content


def _zip_members(stream: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            if not member.is_dir() and not _is_hidden(PurePath(member.filename)):
                with archive.open(member) as content:
                    yield member.filename, content
