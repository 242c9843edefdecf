"""An operator judges replies blind: what is shown, what is kept, what is counted and handed out."""

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import inspect, select, text
from werkzeug.serving import make_server

from chatbot.cli import main
from chatbot.history import FinishedReply, History, NotFoundError, connect, open_history
from chatbot.judgements import OTHERS, Judgements, MismatchError, StoredJudgement
from chatbot.migrations import upgrade
from chatbot.reply import CONTEXT_TURNS
from chatbot.ssa import Mark
from tests.echo_engine import EchoEngine
from tests.test_operator import XSS, Operator, enter
from tests.test_page_everywhere import PHONE, check_with_axe
from web.admin import admin_token
from web.app import create_app, drain
from web.config import Settings

GOOD, PLAIN, BAD = Mark(True, True), Mark(True, False), Mark(False, False)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "home"))


def talk(
    history: History, *said: str, learn: bool = True, checkpoint: str = "echo", **ended: Any
) -> tuple[str, str, str]:
    """A conversation in which each text is answered in capitals, one of 7 candidates -> user, conversation, reply."""
    user, _ = history.add_user()
    conversation = history.create_conversation(user, learn=learn).id
    reply_id = ""
    for one in said:
        reply_id = history.add_message(user, conversation, str(uuid.uuid4()), one).reply_id
        candidates = [{"text": candidate} for candidate in (one.upper(), *(f"{one} {number}" for number in range(6)))]
        reply = {"status": "completed", "candidates": candidates} | ended
        history.finish_reply(conversation, reply_id, FinishedReply(one.upper(), checkpoint=checkpoint, **reply))
    return user, conversation, reply_id


def judge(history: History, given: Mark, other: Mark) -> str:
    """Mark the next reply and its candidates -> its id."""
    unjudged, _ = Judgements(history).next()
    assert unjudged
    Judgements(history).keep(unjudged.reply_id, [given if one.isupper() else other for one in unjudged.candidates])
    return unjudged.reply_id


# What is shown


def test_a_reply_stands_among_its_candidates_with_what_was_said_before(history: History) -> None:
    *_, reply = talk(history, *(chr(ord("a") + number) for number in range(9)))
    found = set()
    while len(found) < 9:  # all nine replies, by lot
        unjudged, left = Judgements(history).next()
        assert unjudged
        assert left == 9
        found.add(unjudged.reply_id)
        if unjudged.reply_id == reply:
            said = [one for letter in "abcdefghi" for one in (("user", letter), ("bot", letter.upper()))][:-1]
            assert unjudged.context == tuple(said[-CONTEXT_TURNS - 1 :])
            assert len(set(unjudged.candidates)) == OTHERS + 1
            assert set(unjudged.candidates) < {"I", *(f"i {number}" for number in range(6))}
            assert "I" in unjudged.candidates


def test_the_order_says_nothing_and_stays_the_same(history: History) -> None:
    places: dict[str, int] = {}
    for number in range(40):
        talk(history, f"word {number}")
    for _ in range(120):
        unjudged, _ = Judgements(history).next()
        assert unjudged
        [place] = [place for place, one in enumerate(unjudged.candidates) if one.isupper()]
        assert places.setdefault(unjudged.reply_id, place) == place
    assert set(places.values()) == set(range(OTHERS + 1))


def test_only_what_its_owner_lets_be_learned_from_is_shown_and_counted(history: History) -> None:
    talk(history, "secret", learn=False)
    talk(history, "danger", guarded="danger")
    talk(history, "cut off", status="stopped")
    talk(history, "no choice", candidates=None)
    assert Judgements(history).next() == (None, 0)
    user, conversation, reply = talk(history, "open")
    assert judge(history, GOOD, BAD) == reply
    assert Judgements(history).next() == (None, 0)
    assert len(Judgements(history).scores()) == 2
    history.set_learning(user, conversation, False)
    assert (Judgements(history).scores(), list(Judgements(history).records())) == ([], [])
    with pytest.raises(NotFoundError, match="cannot be judged any more"):
        Judgements(history).keep(reply, [GOOD] * (OTHERS + 1))


# What is kept


def test_marks_are_as_many_as_replies_and_are_replaced(history: History) -> None:
    *_, reply = talk(history, "one")
    judgements = Judgements(history)
    with pytest.raises(MismatchError, match="There are 5 replies to mark, and 2 marks"):
        judgements.keep(reply, [GOOD, BAD])
    judgements.keep(reply, [BAD] * 5)
    judgements.keep(reply, [GOOD] * 5)
    [record] = judgements.records()
    assert [one["specific"] for one in record["candidates"]] == [1] * 5


def test_what_is_erased_takes_its_judgement_along(history: History) -> None:
    user, conversation, _ = talk(history, "one")
    judge(history, GOOD, BAD)
    history.delete_conversation(user, conversation)
    with history.engine.connect() as connection:
        assert connection.execute(select(StoredJudgement.turn_id)).all() == []


def test_a_database_of_before_is_brought_up_to_date(database: str) -> None:
    engine = connect(database)
    upgrade(engine, "0007")
    assert "judgements" not in inspect(engine).get_table_names()
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO users VALUES ('u', 'hash', CURRENT_TIMESTAMP)",
            "INSERT INTO conversations (id, user_id, created_at, updated_at, last_seq, active_leaf_id, learn) "
            "VALUES ('c', 'u', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 2, 'r', true)",
            "INSERT INTO turns (id, conversation_id, parent_id, speaker, text, status, seq, created_at, candidates) "
            "VALUES ('q', 'c', NULL, 'user', 'Anybody?', 'completed', 1, CURRENT_TIMESTAMP, NULL), "
            "('r', 'c', 'q', 'bot', 'YES', 'completed', 2, CURRENT_TIMESTAMP, '[{\"text\": \"no\"}]')",
        ):
            connection.execute(text(statement.replace(":", "\\:")))
    engine.dispose()
    history = open_history(database)
    assert judge(history, GOOD, BAD) == "r"
    [record] = Judgements(history).records()
    assert [(one["text"], one["sensible"]) for one in sorted(record["candidates"], key=lambda one: one["text"])] == [
        ("YES", 1), ("no", 0),
    ]  # fmt: skip
    history.engine.dispose()


# What is counted and handed out


def test_scores_are_told_apart_by_checkpoint_and_by_whether_a_reply_was_given(history: History) -> None:
    for given, checkpoint in ((GOOD, "old"), (PLAIN, "old"), (BAD, "new"), (BAD, "new")):
        talk(history, f"to {checkpoint}", checkpoint=checkpoint)
        judge(history, given, PLAIN)
    found = {(checkpoint, kind): score for checkpoint, kind, score in Judgements(history).scores()}
    shares = {
        place: (one.contexts, one.marks, one.sensible.value, one.specific.value, one.ssa.value)
        for place, one in found.items()
    }
    assert shares == {
        ("new", "given"): (2, 2, 0.0, 0.0, 0.0), ("new", "candidate"): (2, 8, 1.0, 0.0, 0.5),
        ("old", "given"): (2, 2, 1.0, 0.5, 0.75), ("old", "candidate"): (2, 8, 1.0, 0.0, 0.5),
    }  # fmt: skip
    assert next(iter(found))[0] == "new"
    assert found["old", "given"].ssa.interval == (0.5, 1.0)


def test_judgements_are_handed_out_in_the_form_of_those_that_are_shipped(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    history = open_history(database)
    _, conversation, _ = talk(history, *(f"{number}?" for number in range(8)))
    with history.engine.begin() as connection:  # so that the last reply alone is to be judged
        connection.execute(text("UPDATE turns SET candidates = NULL WHERE text != '7?'"))
        connection.execute(text("UPDATE turns SET candidates = '[{\"text\"\\: \"Seven.\"}]' WHERE text = '7?'"))
    unjudged, _ = Judgements(history).next()
    assert unjudged
    Judgements(history).keep(unjudged.reply_id, [PLAIN if one == "7?" else BAD for one in unjudged.candidates])
    history.engine.dispose()
    out = tmp_path / "judged.jsonl"
    ran = CliRunner().invoke(main, ["history", "export-judgements", "--out", str(out), "--database", database])
    assert ran.exit_code == 0, ran.output
    [record] = map(json.loads, out.read_text().splitlines())
    candidates = sorted(record.pop("candidates"), key=lambda one: one["text"])
    assert candidates == [
        {"text": "7?", "from": "echo given", "sensible": 1, "specific": 0, "best": 0},
        {"text": "Seven.", "from": "echo candidate", "sensible": 0, "specific": 0, "best": 0},
    ]
    context = [f"{number}?" for number in range(8) for _ in "ub"][:-1]
    assert record == {"id": conversation, "turn": 15, "reader": "operator", "context": context[-CONTEXT_TURNS - 1 :]}


# Over HTTP


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = create_app(Settings(database=f"sqlite:///{tmp_path}/chatbot.db"), EchoEngine())
    yield app
    drain(app, 1)


@pytest.fixture
def stored(app: Flask) -> History:
    stored: History = app.extensions["conversations"].history
    return stored


def test_an_operator_sees_marks_and_counts_without_being_told_which_was_given(app: Flask, stored: History) -> None:
    *_, reply = talk(stored, "hello", checkpoint="hred-new")
    talk(stored, "secret", learn=False)
    operator = Operator(app.test_client())
    seen = operator.see("judging")
    assert seen["left"] == 1
    assert seen["turn"].keys() == {"reply_id", "context", "candidates"}
    assert (seen["turn"]["reply_id"], seen["turn"]["context"]) == (reply, [{"speaker": "user", "text": "hello"}])
    assert "hred-new" not in json.dumps(seen)
    marks = [{"sensible": one == "HELLO", "specific": False} for one in seen["turn"]["candidates"]]
    assert operator.do("judge", reply_id=reply, marks=marks) == (200, {"ok": True})
    assert operator.see("judging") == {"turn": None, "left": 0}
    given, other = operator.see("judged")["systems"]
    assert (given["checkpoint"], given["kind"], given["sensible"]["value"]) == ("hred-new", "given", 1)
    assert (other["kind"], other["replies"], other["ssa"]) == ("candidate", 4, {"value": 0, "low": None, "high": None})


def test_marks_that_do_not_fit_are_refused(app: Flask, stored: History) -> None:
    *_, reply = talk(stored, "hello")
    *_, secret = talk(stored, "secret", learn=False)
    operator = Operator(app.test_client())
    plain = {"sensible": True, "specific": False}
    for marks in (
        [],
        [plain] * 2,
        [plain] * 6,
        [plain] * 4 + [{"sensible": False, "specific": True}],
        [plain] * 4 + [{}],
    ):
        assert operator.refused("judge", reply_id=reply, marks=marks) == (400, "invalid")
    assert operator.refused("judge", reply_id=secret, marks=[plain] * 5) == (404, "not_found")
    assert operator.refused("judge", reply_id=str(uuid.uuid4()), marks=[plain] * 5) == (404, "not_found")
    assert operator.see("judged") == {"systems": []}


def test_the_page_for_judging_is_the_operators_alone(app: Flask) -> None:
    stranger = app.test_client()
    answer = stranger.get("/operator/judging")
    assert 'type="password"' in answer.text
    assert "judging.js" not in answer.text
    operator = Operator(app.test_client())
    page = operator.browser.get("/operator/judging")
    assert page.status_code == 200
    assert operator.csrf in page.text
    assert "<title>Robin: judging</title>" in page.text
    for inline in ("<script>", "<style", " onclick=", ' style="'):
        assert inline not in page.text


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()


def open_page(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(f"{address}/operator")
    enter(page, admin_token())
    page.get_by_role("link", name="Judging").click()
    return page


def test_a_turn_is_judged_by_keys_alone(context: BrowserContext, address: str, stored: History) -> None:
    talk(stored, XSS)
    page = open_page(context, address)
    expect(page.get_by_text("1 to judge among the last replies.")).to_be_visible()
    expect(page.get_by_text(f"Person: {XSS}")).to_be_visible()
    candidates = page.locator("#candidates").get_by_role("listitem")
    expect(candidates).to_have_count(5)
    texts = candidates.locator("p").all_text_contents()
    given = texts.index(XSS.upper()) + 1
    page.keyboard.press(str(given))
    page.keyboard.press(str(given))
    group = page.get_by_role("group", name=texts[given - 1], exact=True)
    expect(group.get_by_label("Sensible")).to_be_checked()
    expect(group.get_by_label("Specific")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing to judge")).to_be_visible()
    page.get_by_text("What was judged so far").click()
    rows = page.get_by_role("region", name="Judged replies by checkpoint").get_by_role("row")
    expect(rows.nth(1)).to_have_text("echogiven11100100100")
    expect(rows.nth(2)).to_have_text("echoother candidates14000")
    assert page.evaluate("window.hacked") is None


def test_one_mark_follows_from_the_other_and_passing_over_keeps_nothing(
    context: BrowserContext, address: str, stored: History
) -> None:
    talk(stored, "hello")
    page = open_page(context, address)
    first = page.locator("#candidates").get_by_role("listitem").first
    first.get_by_label("Specific").check()
    expect(first.get_by_label("Sensible")).to_be_checked()
    first.get_by_label("Sensible").uncheck()
    expect(first.get_by_label("Specific")).not_to_be_checked()
    first.get_by_label("Sensible").check()
    page.get_by_role("button", name="Pass over").click()
    expect(first.get_by_label("Sensible")).not_to_be_checked()
    assert list(Judgements(stored).records()) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_for_judging_fits_a_phone_and_everybody(
    browser: Browser, address: str, stored: History, scheme: Any
) -> None:
    talk(stored, "a", "b" * 300)
    context = browser.new_context(color_scheme=scheme, **PHONE)
    page = open_page(context, address)
    expect(page.locator("#candidates").get_by_role("listitem")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    check_with_axe(page)
    context.close()


def test_a_reply_that_was_erased_meanwhile_is_said_to_be_gone(
    context: BrowserContext, address: str, stored: History
) -> None:
    user, conversation, _ = talk(stored, "hello")
    page = open_page(context, address)
    expect(page.locator("#candidates").get_by_role("listitem")).to_have_count(5)
    stored.delete_conversation(user, conversation)
    page.get_by_role("button", name="Save, next").click()
    expect(page.get_by_role("alert")).to_have_text("This reply cannot be judged any more.")
    page.get_by_role("button", name="Pass over").click()
    expect(page.get_by_text("Nothing to judge")).to_be_visible()
