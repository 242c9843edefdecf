"""What a person does in the page, and the system's Chromium to do it in."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

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
