"""Public corpora by name: their address, licence and citation, and a download that survives interruption.

What can be pinned is: a corpus with a known SHA-256 must match it. For the others nobody publishes one; the sum of the
first complete download is written beside the file, which shows later damage but not what the server sent in the first
place.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

ATTEMPTS = 5
TIMEOUT = 30.0  # seconds without a byte
_BLOCK = 1 << 16  # what a broken line can lose

Progress = Callable[[int, int], None]  # bytes so far, bytes in all (0 where unknown)


class DownloadError(ValueError):
    """A corpus could not be fetched; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class PublicCorpus:
    """`file` is the name to keep it under, as `chatbot prepare` knows it; `sha256` is None where none is published."""

    url: str
    file: str
    licence: str
    citation: str
    sha256: str | None = None


CORPORA = {
    "opensubtitles": PublicCorpus(
        url="https://object.pouta.csc.fi/OPUS-OpenSubtitles/v2018/xml/en.zip",
        file="OpenSubtitles.v2018.en.zip",
        licence="no licence is stated; subtitles from www.opensubtitles.org, by way of OPUS: research use",
        citation="P. Lison and J. Tiedemann (2016), OpenSubtitles2016: Extracting Large Parallel Corpora from Movie "
        "and TV Subtitles, LREC",
        sha256="917af90fcaa8b0ebb3d59d9f8d205f304f31bf92cbf15aa6e9ee030f6691755e",
    ),
    "cornell": PublicCorpus(
        url="https://www.cs.cornell.edu/~cristian/data/cornell_movie_dialogs_corpus.zip",
        file="cornell_movie_dialogs_corpus.zip",
        licence="no licence is stated: research use",
        citation="C. Danescu-Niculescu-Mizil and L. Lee (2011), Chameleons in Imagined Conversations, CMCL",
        sha256="3bde8a571f615201bc2d2453e22878090719638592f774720eddec739de8c900",
    ),
    "dailydialog": PublicCorpus(
        url="http://yanran.li/files/ijcnlp_dailydialog.zip",
        file="ijcnlp_dailydialog.zip",
        licence="CC BY-NC-SA 4.0",
        citation="Y. Li et al. (2017), DailyDialog: A Manually Labelled Multi-turn Dialogue Dataset, IJCNLP",
    ),
    "self_dialogue": PublicCorpus(
        url="https://github.com/jfainberg/self_dialogue_corpus/archive/refs/heads/master.tar.gz",
        file="self_dialogue.tar.gz",
        licence="BSD 3-Clause",
        citation="J. Fainberg et al. (2018), Talking to Myself: Self-dialogues as Data for Conversational Agents",
    ),
}


def fetch(corpus: PublicCorpus, folder: Path, on_progress: Progress | None = None) -> Path:
    """The corpus in `folder`, downloaded as far as it is not there yet, and checked.

    Raises DownloadError where the server fails for good or the file is not what it should be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / corpus.file
    if not target.exists():
        part = target.with_name(f"{target.name}.part")
        _download(corpus.url, part, on_progress or (lambda done, total: None))
        _check(corpus, part, corpus.sha256)
        part.rename(target)
        _recorded(target).write_text(f"{sha256_of(target)}  {target.name}\n")
    recorded = _recorded(target).read_text().split()[0] if _recorded(target).exists() else None
    _check(corpus, target, corpus.sha256 or recorded)
    return target


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _recorded(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _check(corpus: PublicCorpus, file: Path, expected: str | None) -> None:
    if expected and sha256_of(file) != expected:
        raise DownloadError(
            f"{file} is damaged, or has changed at {corpus.url}: its SHA-256 is not {expected}; "
            "delete it and fetch again."
        )


def _download(url: str, part: Path, on_progress: Progress) -> None:
    """Goes on where an earlier attempt ended, and tries again when the line breaks."""
    for attempt in range(ATTEMPTS):
        try:
            return _append_rest(url, part, on_progress)
        except requests.HTTPError as error:
            raise DownloadError(
                f"{url} answered {error.response.status_code}; see whether the corpus has moved."
            ) from error
        except requests.RequestException as error:
            last = error
            time.sleep(min(attempt, 3))
    raise DownloadError(f"{url} could not be read ({type(last).__name__}); run the same command again to go on.")


def _append_rest(url: str, part: Path, on_progress: Progress) -> None:
    """Asks for what is missing, on condition that the file at the server is still the one begun with."""
    version_file = part.with_name(f"{part.name}.version")
    version = version_file.read_text() if version_file.exists() else ""
    done = part.stat().st_size if part.exists() and version else 0
    headers = {"Range": f"bytes={done}-", "If-Range": version} if done else {}
    with requests.get(url, headers={"Accept-Encoding": "identity"} | headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            return version_file.unlink()  # nothing is missing
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            done = 0
        version_file.write_text(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
        total = done + int(answer.headers.get("Content-Length", 0))
        with part.open("ab" if done else "wb") as file:
            for block in answer.iter_content(_BLOCK):
                file.write(block)
                done += len(block)
                on_progress(done, total)
    version_file.unlink()
