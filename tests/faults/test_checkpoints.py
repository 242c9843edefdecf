"""Hostile and broken checkpoints: one sentence, exit code 2, nothing of theirs runs."""

import io
import json
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients import ROOT
from tests.tiny_checkpoint import tiny_checkpoint

Record = Callable[..., None]
CHATBOT = str(Path(sys.executable).with_name("chatbot"))


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def pickled(mark: Path) -> bytes:
    return pickle.dumps(Bomb(mark))


def archived(mark: Path) -> bytes:
    """As torch.save writes it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(mark))
        archive.writestr("archive/version", "3")
    return packed.getvalue()


def header(said: bytes, size: int | None = None, rest: bytes = b"") -> bytes:
    return struct.pack("<Q", len(said) if size is None else size) + said + rest


def tensor(**fields: Any) -> bytes:
    entry = {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]} | fields
    return header(json.dumps({"embedding.weight": entry}).encode(), rest=bytes(8))


WEIGHTS: dict[str, Callable[[Path], bytes]] = {
    "a pickle": pickled,
    "an archive with a pickle": archived,
    "nothing": lambda mark: b"",
    "zeros": lambda mark: bytes(1000),
    "noise": lambda mark: random.Random(5).randbytes(10_000),
    "a header without an end": lambda mark: header(b'{"a":', 2**62),
    "a header that is no JSON": lambda mark: header(b"\xff" * 100),
    "a header that is deep": lambda mark: header(b"[" * 100_000),
    "a tensor of endless size": lambda mark: tensor(shape=[2**62, 2**62]),
    "a tensor out of the file": lambda mark: tensor(data_offsets=[0, 2**40]),
    "a tensor of an unknown type": lambda mark: tensor(dtype="OBJECT"),
    "a tensor of another name": lambda mark: tensor(),
    "a pickle after a header": lambda mark: header(b"{}") + pickled(mark),
}
TEXTS: dict[str, Callable[[Path], bytes]] = {
    "a pickle": pickled,
    "nothing": lambda mark: b"",
    "null": lambda mark: b"null",
    "half": lambda mark: b'{"format": 2, "model": {',
    "deep": lambda mark: b"[" * 100_000,
    "bytes": lambda mark: b"\xff\xfe\x00",
    "a number": lambda mark: b"1e400",
    "code": lambda mark: b'{"format": "__import__(\'os\').system(\'touch x\')", "model": {"kind": "os.system"}}',
}
ATTACKS = [("model.safetensors", name, make) for name, make in WEIGHTS.items()]
ATTACKS += [(file, name, make) for file in ("config.json", "vocabulary.json") for name, make in TEXTS.items()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("whole") / "checkpoint").folder


def damaged(whole: Path, folder: Path, file: str, bytes: bytes) -> Path:
    shutil.copytree(whole, folder)
    (folder / file).write_bytes(bytes)
    return folder


def commands(checkpoint: Path, home: Path) -> list[list[str]]:
    return [
        ["talk", "--checkpoint", str(checkpoint)],
        ["serve", "--checkpoint", str(checkpoint), "--port", "0", "--database", f"sqlite:///{home}/chatbot.db"],
        ["models", "promote", str(checkpoint)],
    ]


def refusal_of(command: list[str], home: Path) -> str:
    """Run it -> the one sentence it says."""
    environment = os.environ | {"CHATBOT_HOME": str(home)}
    result = subprocess.run(
        [CHATBOT, *command], cwd=ROOT, env=environment, input="hello\n", capture_output=True, text=True, timeout=100
    )
    assert (result.returncode, result.stdout) == (2, ""), result
    [line] = result.stderr.splitlines()
    assert "Traceback" not in line
    return line


@pytest.mark.parametrize("command", ["talk", "serve", "models"])
def test_a_pickle_bomb_does_not_go_off(whole: Path, tmp_path: Path, command: str) -> None:
    mark, home = tmp_path / "went off", tmp_path / "home"
    for number, make in enumerate((pickled, archived)):
        folder = damaged(whole, tmp_path / str(number), "model.safetensors", make(mark))
        [words] = [words for words in commands(folder, home) if words[0] == command]
        assert str(folder) in refusal_of(words, home)
    assert not mark.exists()


@pytest.mark.parametrize(("file", "name", "make"), ATTACKS, ids=[f"{file}: {name}" for file, name, _ in ATTACKS])
def test_a_hostile_checkpoint_is_refused(whole: Path, tmp_path: Path, file: str, name: str, make: Any) -> None:
    mark, home = tmp_path / "went off", tmp_path / "home"
    folder = damaged(whole, tmp_path / "hostile", file, make(mark))
    assert str(folder) in refusal_of(["models", "promote", str(folder)], home)
    assert not mark.exists()
    assert not (home / "checkpoints" / "live").exists()


def test_a_checkpoint_cut_short_anywhere_is_refused(whole: Path, tmp_path: Path, record: Record) -> None:
    from chatbot.checkpoint import load_checkpoint
    from chatbot.shelf import CheckpointError

    places, r = 0, random.Random(5)
    for file in ("model.safetensors", "config.json", "vocabulary.json"):
        content = (whole / file).read_bytes().rstrip()
        for _ in range(100):
            folder = damaged(whole, tmp_path / "cut", file, content[: r.randrange(len(content))])
            with pytest.raises(CheckpointError) as refused:
                load_checkpoint(folder)
            assert len(str(refused.value).splitlines()) == 1
            shutil.rmtree(folder)
            places += 1
    record(places=places)
