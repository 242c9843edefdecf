"""Files of a corpus, wherever they lie: in folders, compressed, or inside archives.

Knows bytes, not what the text means.
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

from data.encoding import UnknownEncodingError, encoding_of

HEAD_BYTES = 1 << 16
MAX_DOCUMENT_BYTES = 1 << 28  # a file that must be read whole
MAX_LINE_CHARACTERS = 1 << 24
MAX_LAYERS = 4  # of packing, one in another: a .tar.gz has two
MAX_UNPACKED = 200  # times the size of a file on disk, or so many bytes where that is more; text is packed to a tenth
MIN_UNPACKED_BYTES = 1 << 26
_BAD = "\ufffd"  # what stands for bytes that are no text

_COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
_ARCHIVES = {".tar", ".tgz", ".txz", ".zip"}
BROKEN = (EOFError, OSError, lzma.LZMAError, zlib.error, tarfile.TarError, zipfile.BadZipFile, RuntimeError)


class DocumentError(ValueError):
    """A file that cannot be read as a corpus; the message says why in a few words, fit to stand behind its name."""


class PackedTooWellError(DocumentError):
    """A file that unpacks to more than any corpus does."""

    def __init__(self) -> None:
        super().__init__(f"unpacks to more than {MAX_UNPACKED} times its size; unpack it first")


class _Unpacking:
    """How much of a file on disk may still be unpacked."""

    def __init__(self, size: int) -> None:
        self.left = max(MIN_UNPACKED_BYTES, MAX_UNPACKED * size)

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise PackedTooWellError


class _Unpacked:
    """A stream of unpacked bytes that counts what is read of it, again after going back as well."""

    def __init__(self, stream: IO[bytes], unpacking: _Unpacking) -> None:
        self._stream, self._unpacking = stream, unpacking

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self._unpacking.spend(len(content))
        return content


class Document:
    """One file of a corpus, read from its start: `head`, then `lines()` or `text()`, once.

    Bytes that are no text in the file's encoding become U+FFFD, which cleaning leaves out. Raises DocumentError where
    the file is empty, binary or of unknown encoding, and later where it turns out to be truncated.
    """

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self.name = name
        # What was met so far: the lines that were skipped, and the first one with bytes that are no text (from 1).
        self.too_long: list[int] = []
        self.first_damaged: int | None = None
        self._stream = stream
        self._head = self._read(HEAD_BYTES)
        if not self._head.strip():
            raise DocumentError("empty")
        self._encoding = _encoding_of(self._head)

    @property
    def stem(self) -> str:
        """The file's own name without folders and endings."""
        return Path(self.name).name.split(".")[0]

    @property
    def head(self) -> str:
        """The first 64 KiB of text."""
        return codecs.getincrementaldecoder(self._encoding)("replace").decode(self._head)

    def lines(self) -> Iterator[str]:
        """Lines without their ends; memory does not grow with the file.

        A line of over MAX_LINE_CHARACTERS comes empty, and its number, from 1, goes to `too_long`.
        """
        rest, number, skips = "", 0, False
        for text in self._texts():
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                number += 1
                self._look_for_damage(line, number)
                yield "" if skips else line.rstrip("\r")
                skips = False
            if len(rest) > MAX_LINE_CHARACTERS and not skips:
                self.too_long.append(number + 1)
                skips = True
            rest = "" if skips else rest
        if rest:
            self._look_for_damage(rest, number + 1)
            yield rest

    def text(self, limit: int = MAX_DOCUMENT_BYTES) -> str:
        """The whole file of at most so many bytes with plain line ends, for what cannot be read line by line."""
        content = b"".join(self._blocks(limit))
        text = content.decode(_encoding_of(content), "replace").replace("\r\n", "\n").replace("\r", "\n")
        self._look_for_damage(text, 1)
        return text

    def _look_for_damage(self, text: str, number: int) -> None:
        """Notes the first bad line of a text that begins with the line of this number."""
        if self.first_damaged is None and (place := text.find(_BAD)) >= 0:
            self.first_damaged = number + text.count("\n", 0, place)

    def _texts(self) -> Iterator[str]:
        """The blocks as text; where they are ASCII at first, the encoding is told by the first one that is not."""
        decoder = codecs.getincrementaldecoder(self._encoding)("replace")
        is_told = self._encoding != "utf-8" or not self._head.isascii()
        for block in self._blocks():
            if not is_told and not block.isascii():
                decoder = codecs.getincrementaldecoder(_encoding_of(block))("replace")
                is_told = True
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)

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


def _encoding_of(content: bytes) -> str:
    try:
        return encoding_of(content)
    except UnknownEncodingError as error:
        raise DocumentError(str(error)) from error


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
                try:
                    yield from self._unpacked(str(file), self._open, _Unpacking(size))
                except PackedTooWellError as error:
                    self.on_bad(str(file), str(error))
            self._finished += size

    def _unpacked(self, name: str, stream: Any, unpacking: _Unpacking, layers: int = 0) -> Iterator[Document]:
        """What a stream holds, opened as far as its name says it is packed."""
        try:
            for inner, content in _contents(name, stream, unpacking, layers):
                if content is stream:
                    yield Document(name, stream)
                else:
                    yield from self._unpacked(inner, _Unpacked(content, unpacking), unpacking, layers + 1)
        except PackedTooWellError:
            raise
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


def _contents(name: str, stream: Any, unpacking: _Unpacking, layers: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Return the streams that a layer of packing holds, or the stream itself where there is none."""
    suffix = Path(name).suffix.lower()
    if suffix not in {*_COMPRESSED, *_ARCHIVES}:
        yield name, stream
    elif layers == MAX_LAYERS:
        raise DocumentError("packed too many times over; unpack it first")
    elif suffix in _COMPRESSED:
        yield name[: -len(suffix)], _COMPRESSED[suffix](stream)
    else:
        members = _zip_members(stream, unpacking) if suffix == ".zip" else _tar_members(stream)
        yield from ((f"{name}/{member}", content) for member, content in members)


def _tar_members(stream: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content and not _is_hidden(PurePath(member.name)):
                yield member.name, content


def _zip_members(stream: IO[bytes], unpacking: _Unpacking) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(stream) as archive:
        if sum(member.file_size for member in archive.infolist()) > unpacking.left:
            raise PackedTooWellError
        for member in archive.infolist():
            if not member.is_dir() and not _is_hidden(PurePath(member.filename)):
                with archive.open(member) as content:
                    yield member.filename, content
