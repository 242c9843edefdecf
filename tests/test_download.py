import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from data import download
from data.commands import fetch as fetch_command
from data.download import DownloadError, PublicCorpus, fetch

CONTENT = bytes(range(256)) * 4000


@dataclass
class Server:
    """What the server holds, how it behaves, and what it was asked for."""

    content: bytes = CONTENT
    etag: str = '"one"'
    break_after: list[int] = field(default_factory=list)  # of each answer in turn, bytes after which the line breaks
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if request.path != "/corpus.zip":
            return request.send_error(404)
        if start and request.headers.get("If-Range") != self.etag:
            start = 0
        if start >= len(self.content):
            return request.send_error(416)
        request.send_response(206 if start else 200)
        request.send_header("ETag", self.etag)
        request.send_header("Content-Length", str(len(self.content) - start))
        request.end_headers()
        rest = self.content[start:]
        request.wfile.write(rest[: self.break_after.pop(0)] if self.break_after else rest)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}/corpus.zip"
    yield state
    http.shutdown()
    http.server_close()


@pytest.fixture
def corpus(server: Server) -> PublicCorpus:
    return PublicCorpus(server.url, "kept.zip", "CC0", "Nobody (2026)", hashlib.sha256(CONTENT).hexdigest())


def test_a_corpus_is_fetched_once_and_checked(tmp_path: Path, server: Server, corpus: PublicCorpus) -> None:
    seen: list[tuple[int, int]] = []
    assert fetch(corpus, tmp_path / "in", lambda done, total: seen.append((done, total))).read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    fetch(corpus, tmp_path / "in")
    assert len(server.ranges) == 1
    assert sorted(file.name for file in (tmp_path / "in").iterdir()) == ["kept.zip", "kept.zip.sha256"]


def test_a_broken_line_is_resumed_where_it_broke(tmp_path: Path, server: Server, corpus: PublicCorpus) -> None:
    server.break_after = [4 << 16, 3 << 16]
    assert fetch(corpus, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={4 << 16}-", f"bytes={7 << 16}-"]


def test_a_later_run_goes_on_where_the_first_gave_up(tmp_path: Path, server: Server, corpus: PublicCorpus) -> None:
    server.break_after = [1 << 16] * download.ATTEMPTS
    with pytest.raises(DownloadError, match="run the same command again"):
        fetch(corpus, tmp_path)
    assert fetch(corpus, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={download.ATTEMPTS << 16}-"


def test_a_file_that_changed_at_the_server_is_fetched_from_its_start(
    tmp_path: Path, server: Server, corpus: PublicCorpus
) -> None:
    server.break_after = [1 << 16] * download.ATTEMPTS
    with pytest.raises(DownloadError):
        fetch(replace(corpus, sha256=None), tmp_path)
    server.content, server.etag = b"new" * 9999, '"two"'
    assert fetch(replace(corpus, sha256=None), tmp_path).read_bytes() == server.content


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path, server: Server, corpus: PublicCorpus) -> None:
    server.content = b"something else"
    with pytest.raises(DownloadError, match="SHA-256"):
        fetch(corpus, tmp_path)
    assert not (tmp_path / "kept.zip").exists()


def test_without_a_published_sum_later_damage_is_still_seen(
    tmp_path: Path, server: Server, corpus: PublicCorpus
) -> None:
    file = fetch(replace(corpus, sha256=None), tmp_path)
    assert hashlib.sha256(CONTENT).hexdigest() in (tmp_path / "kept.zip.sha256").read_text()
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match="damaged"):
        fetch(replace(corpus, sha256=None), tmp_path)


def test_an_address_that_has_gone_is_one_sentence(tmp_path: Path, server: Server, corpus: PublicCorpus) -> None:
    with pytest.raises(DownloadError, match="answered 404"):
        fetch(replace(corpus, url=server.url.replace("corpus", "gone")), tmp_path)


def test_the_command_prints_address_licence_and_citation(
    tmp_path: Path, corpus: PublicCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(download.CORPORA, "cornell", corpus)
    result = CliRunner().invoke(fetch_command, ["cornell", "--into", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for said in (corpus.url, "CC0", "Nobody (2026)", "matches the published SHA-256", "kept.zip"):
        assert said in result.stdout


def test_the_command_ends_with_code_2_when_the_corpus_cannot_be_had(
    tmp_path: Path, corpus: PublicCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(download.CORPORA, "cornell", replace(corpus, sha256="0" * 64))
    result = CliRunner().invoke(fetch_command, ["cornell", "--into", str(tmp_path)])
    assert result.exit_code == 2
    assert "SHA-256" in result.stderr


def test_every_name_the_command_knows_is_a_corpus() -> None:
    assert sorted(download.CORPORA) == sorted(fetch_command.params[0].type.choices)
