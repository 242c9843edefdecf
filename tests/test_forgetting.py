"""What is erased is forgotten where it was laid by for training."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chatbot.forgetting import forget, hash_of

KEPT = ["checkpoint/model.safetensors", "run.json", "curves.png", "metrics.jsonl"]
CONVERSATION, OTHER = str(uuid.uuid4()), str(uuid.uuid4())


@pytest.fixture(autouse=True)
def retrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path))
    return tmp_path / "retrain"


def run_with(folder: Path, *conversations: str) -> Path:
    for name in ("prepared/train.tokens", "checkpoint/model.safetensors", *KEPT[1:], "stage/kept.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
    (folder / "data.json").write_text(json.dumps({"conversations": [hash_of(one) for one in conversations]}))
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_took_the_conversation_keeps_only_what_holds_no_text(retrain: Path) -> None:
    run = run_with(retrain / "a", OTHER, CONVERSATION)
    forget([CONVERSATION])
    assert files(run) == set(KEPT)
    forget([CONVERSATION])


def test_a_run_without_the_conversation_keeps_its_data(retrain: Path) -> None:
    run = run_with(retrain / "a", OTHER)
    before = files(run)
    forget([CONVERSATION])
    forget([])
    assert files(run) == before


@pytest.mark.parametrize("record", ["", "{", "[]", "{}", '{"conversations": 7}', '{"conversations": [["x"]]}'])
def test_a_run_whose_record_cannot_be_read_is_not_trusted(retrain: Path, record: str) -> None:
    run = run_with(retrain / "a")
    (run / "data.json").write_text(record)
    forget([CONVERSATION])
    assert files(run) == set(KEPT)


def test_several_who_forget_at_once_do_not_disturb_one_another(retrain: Path) -> None:
    runs = [run_with(retrain / str(number), CONVERSATION) for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: forget([CONVERSATION]), range(4)))
    assert [files(run) for run in runs] == [set(KEPT)] * 40


def test_links_are_removed_and_not_followed(retrain: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    run = run_with(retrain / "a", CONVERSATION)
    (run / "linked").symlink_to(elsewhere)
    forget([CONVERSATION])
    assert not (run / "linked").exists()
    assert (elsewhere / "mine").exists()


def test_without_any_retraining_there_is_nothing_to_forget(retrain: Path) -> None:
    forget([CONVERSATION])
    assert not retrain.exists()
