"""What a person does in the page, and the system's Chromium to do it in."""

import json
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from chatbot.history import open_history
from tests.running_server import RunningServer

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update"]
PATIENCE = 15_000  # ms, for a machine that does other things as well


@contextmanager
def chromium() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert path, "Chromium is needed for the page's tests: install it with 'sudo apt-get install chromium'."
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


def visit(context: BrowserContext, server: RunningServer, fragment: str = "") -> Page:
    page = context.new_page()
    page.goto(server.url + fragment)
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    return page


def box(page: Page) -> Locator:
    return page.get_by_label("Your message")


def say(page: Page, text: str) -> None:
    box(page).fill(text)
    box(page).press("Enter")


def turns(page: Page) -> Locator:
    return page.get_by_role("log").locator(".text")


def texts(*said: str) -> list[str]:
    return [text for utterance in said for text in (utterance, f"You said: {utterance}")]


def titles(page: Page) -> Locator:
    return page.get_by_role("navigation").get_by_role("listitem").get_by_role("link")


def finished(page: Page) -> Locator:
    return page.locator(".bot[data-status=completed]")


def converse(page: Page, *said: str) -> None:
    before = finished(page).count()
    for number, utterance in enumerate(said, start=1):
        say(page, utterance)
        expect(finished(page)).to_have_count(before + number)


def rename(page: Page, old: str, new: str) -> None:
    page.get_by_role("button", name=f"Rename {old}").click()
    page.get_by_label("New title").fill(new)
    page.get_by_label("New title").press("Enter")


def delete(page: Page, title: str) -> None:
    page.get_by_role("button", name=f"Delete {title}").click()


def make_long(page: Page, server: RunningServer, count: int) -> str:
    """A conversation of so many turns, "turn 0" to the last, straight into the database -> its id."""
    stored = open_history(server.database)
    user = stored.user_of(page.evaluate("localStorage.getItem('chatbot.token')"))
    assert user
    conversation = stored.create_conversation(user, "long").id
    stored.engine.dispose()
    ids, now = [str(uuid.uuid4()) for _ in range(count)], "2031-12-24 12:00:00.000000"
    turns, events = [], []
    for place, id in enumerate(ids):
        parent, is_user = (ids[place - 1] if place else None), place % 2 == 0
        key = str(uuid.uuid4()) if is_user else None
        seq = 1 + place // 2 * 3 + place % 2
        turns.append(
            (id, conversation, parent, "user" if is_user else "bot", f"turn {place}", "completed", key, seq, now)
        )
        said = {"parent_id": parent, "text": f"turn {place}", "created_at": now}
        if is_user:
            events.append((conversation, seq, "message.created", said | {"message_id": id, "client_msg_id": key}))
        else:
            ended = said | {"reply_id": id, "status": "completed", "checkpoint": "echo", "retrieved": False}
            events.append((conversation, seq, "reply.started", {"reply_id": id, "parent_id": parent}))
            events.append((conversation, seq + 1, "reply.completed", ended))
    with sqlite3.connect(server.database.removeprefix("sqlite:///")) as database:
        columns = "id, conversation_id, parent_id, speaker, text, status, client_msg_id, seq, created_at, retrieved"
        database.executemany(f"INSERT INTO turns ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)", turns)  # noqa: S608
        insert = "INSERT INTO events (conversation_id, seq, type, data, created_at) VALUES (?, ?, ?, ?, ?)"
        database.executemany(insert, [(*event[:3], json.dumps(event[3]), now) for event in events])
        change = "UPDATE conversations SET last_seq = ?, active_leaf_id = ? WHERE id = ?"
        database.execute(change, (events[-1][1], ids[-1], conversation))
    database.close()
    return conversation


def transferred(page: Page, server: RunningServer) -> int:
    """The bytes of all answers, headers too, that a load brings over the wire."""
    session, sizes = page.context.new_cdp_session(page), list[int]()
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(round(event["encodedDataLength"])))
    page.goto(server.url)
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    session.detach()
    return sum(sizes)


def downloaded(page: Page, button: str, name: str) -> str:
    page.get_by_role("button", name="Save this conversation").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    expect(page.get_by_role("button", name=button)).to_be_hidden()
    assert download.value.suggested_filename == name
    return Path(download.value.path()).read_text()
