"""The chat in the corner of any site: real sites of another origin, in the system's Chromium, and the real server."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, WebSocketRoute, expect

from tests.browsing import box, converse, say, texts, turns, visit
from tests.running_server import RunningServer
from tests.test_page_everywhere import PHONE, check_with_axe, payloads
from web.access import lets_in

# What a site may do to all of its elements, and to the body.
HOSTILE = """
    * { color: red !important; font: 3px monospace !important; box-sizing: content-box !important; --ink: red; }
    html { font-size: 5px; }
    body { transform: scale(0.5); filter: blur(3px); opacity: 0.5; z-index: 9; position: relative; }
    body *, chatbot-widget, [class] { display: none !important; visibility: hidden !important; }
    chatbot-widget { transform: scale(0.1) !important; opacity: 0 !important; pointer-events: none !important; }
    button, textarea, dialog, p, .text { background: red !important; padding: 50px !important; }
"""
PAGE = """<!doctype html><html lang="en" {root}><head><meta charset="utf-8"><title>A site</title>
    <meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/style.css">
    <script src="/script.js"></script>
    <script type="module" src="{bot}static/widget.js" {title} data-accent="#7a3cc2"></script>
    </head><body><main><h1>A site</h1><p>Teapots.</p><input aria-label="Search teapots"></main></body></html>"""
TITLE = 'data-title="Ask us"'
SCRIPT = "window.pressed = []; addEventListener('keydown', ({ key }) => pressed.push(key));"
POLICY = "default-src 'none'; script-src 'self' {bot}; style-src 'self'; connect-src {bot} {socket}; "
POLICY += "require-trusted-types-for 'script'; trusted-types 'none'; form-action 'none'; base-uri 'none'"


class Site:
    """A site on a port of its own. By another name of the machine it is another site, which the bot does not know."""

    def __init__(self) -> None:
        self.bot, self.style, self.root, self.title = "", "", "", TITLE
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = site.answer(self.path)
                self.send_response(200)
                self.send_header("Content-Type", f"text/{kind}; charset=utf-8")
                origin = site.bot.rstrip("/")
                policy = POLICY.format(bot=origin, socket=origin.replace("http", "ws"))
                self.send_header("Content-Security-Policy", policy)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *arguments: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.unknown_url = self.url.replace("127.0.0.1", "localhost")

    def answer(self, path: str) -> tuple[str, str]:
        files = {"/style.css": ("css", self.style), "/script.js": ("javascript", SCRIPT)}
        return files.get(path, ("html", PAGE.format(bot=self.bot, root=self.root, title=self.title)))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def built() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, built: Site) -> Iterator[RunningServer]:
    running = RunningServer(
        tmp_path_factory.mktemp("server"), delay=0.003, origins=built.url, messages_per_minute=1_000, name="Ada"
    )
    yield running
    running.kill()


@pytest.fixture
def site(built: Site, server: RunningServer) -> Site:
    built.bot, built.style, built.root, built.title = server.url, "", "", TITLE
    return built


def launcher(page: Page) -> Locator:
    return page.get_by_role("button", name="Ask us")


def chat(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Ask us")


def enter(context: BrowserContext, url: str) -> Page:
    """Goes to a site and opens its chat."""
    page = context.new_page()
    page.goto(url)
    launcher(page).click()
    return page


def complaints_of(page: Page) -> list[str]:
    complaints = list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def test_one_tag_is_enough_on_any_site_and_text_is_only_ever_text(context: BrowserContext, site: Site) -> None:
    site.style = HOSTILE
    page = context.new_page()
    complaints = complaints_of(page)
    page.goto(site.url)
    launcher(page).click()
    expect(chat(page).get_by_text("Connected", exact=True)).to_be_visible()
    converse(page, "Do you have teapots?")
    expect(turns(page)).to_have_text(texts("Do you have teapots?"))
    for part in (turns(page).last, box(page), chat(page).get_by_role("heading", name="Ask us"), launcher(page)):
        look = part.evaluate("part => [getComputedStyle(part).color, parseFloat(getComputedStyle(part).fontSize)]")
        assert look[0] != "rgb(255, 0, 0)"
        assert look[1] >= 13
        expect(part).to_be_in_viewport(ratio=1)
    assert launcher(page).evaluate("part => getComputedStyle(part).backgroundColor") == "rgb(122, 60, 194)"
    attempts = [attempt.strip() for attempt in payloads()[:8]]
    converse(page, *attempts)
    expect(turns(page)).to_have_text(texts("Do you have teapots?", *attempts))
    assert page.locator(".log :is(script, img, iframe, object, style, form, base, svg:not(.icon-face))").count() == 0
    assert page.evaluate("window.hacked") is None
    assert complaints == []


def test_the_conversation_is_there_after_a_reload_and_in_another_tab(
    context: BrowserContext, site: Site, server: RunningServer
) -> None:
    page = enter(context, site.url)
    converse(page, "one")
    page.reload()
    expect(turns(page)).to_have_text(texts("one"))  # open as it was, and
    assert page.evaluate("document.activeElement === document.body")  # it has not taken the focus
    converse(page, "two")
    other = enter(context, f"{site.url}/elsewhere")
    expect(turns(other)).to_have_text(texts("one", "two"))
    converse(other, "three")
    expect(turns(page)).to_have_text(texts("one", "two", "three"))
    converse(visit(context, server), "hello")  # the server's own page goes on


def test_a_site_that_is_not_listed_is_refused_in_a_sentence_and_does_not_go_on_asking(
    context: BrowserContext, site: Site
) -> None:
    page, lines = context.new_page(), list[str]()
    page.on("websocket", lambda line: lines.append(line.url))
    page.goto(site.unknown_url)
    launcher(page).click()
    expect(chat(page).get_by_role("alert")).to_have_text(
        f"This chatbot does not answer on {site.unknown_url} yet. Whoever runs it has to allow this site first."
    )
    expect(chat(page).get_by_text("Not connected")).to_be_visible()
    expect(box(page)).to_be_hidden()
    tried = len(lines)
    page.wait_for_timeout(400)
    assert len(lines) == tried <= 2


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("https://shop.example", True),
        ("https://bot.example", True),
        ("http://shop.example", False),
        ("https://shop.example:8443", False),
        ("https://shop.example.evil.example", False),
        ("https://evil.example/https://shop.example", False),
        ("null", False),
        ("app://bot.example", False),
        ("http://[", False),
    ],
)
def test_sites_are_listed_exactly(origin: str, may: bool) -> None:
    assert lets_in(origin, "bot.example", ("https://shop.example",)) is may


def test_a_page_that_came_by_http_may_not_ask_a_server_that_is_reached_by_https() -> None:
    assert lets_in("http://bot.example", "bot.example", ())
    assert not lets_in("http://bot.example", "bot.example", (), is_secure=True)
    assert lets_in("https://bot.example", "bot.example", (), is_secure=True)


def test_it_connects_when_it_is_wanted_and_is_used_by_keys_alone_which_the_site_does_not_hear(
    context: BrowserContext, site: Site
) -> None:
    page, lines = context.new_page(), list[str]()
    page.on("websocket", lambda line: lines.append(line.url))
    page.goto(site.url)
    expect(launcher(page)).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert lines == []
    assert page.evaluate("Object.keys(localStorage)") == []
    launcher(page).press("Enter")
    expect(box(page)).to_be_focused()
    expect(launcher(page)).to_have_attribute("aria-expanded", "true")
    page.evaluate("pressed.length = 0")
    page.keyboard.type("Hello /?")
    page.keyboard.press("Enter")
    expect(turns(page)).to_have_text(texts("Hello /?"))
    page.keyboard.press("Escape")
    expect(chat(page)).to_be_hidden()
    expect(launcher(page)).to_be_focused()
    assert page.evaluate("pressed") == []
    page.keyboard.press("Enter")
    expect(turns(page)).to_have_text(texts("Hello /?"))
    expect(chat(page).get_by_role("log", name="Conversation")).to_have_attribute("aria-live", "polite")


def test_a_reply_that_came_while_it_was_closed_is_there_when_it_is_opened(context: BrowserContext, site: Site) -> None:
    page = enter(context, site.url)
    converse(page, *["line\n" * 6 for _ in range(4)])
    say(page, "and on")
    page.keyboard.press("Escape")
    expect(page.locator(".bot[data-status=completed]")).to_have_count(5)
    launcher(page).click()
    expect(turns(page).last).to_have_text("You said: and on")
    expect(turns(page).last).to_be_in_viewport()
    height = box(page).evaluate("box => box.clientHeight")
    assert height >= 24  # which cannot be told of what is hidden


def test_one_begins_anew_after_a_yes_and_what_was_said_is_erased(context: BrowserContext, site: Site) -> None:
    page = enter(context, site.url)
    converse(page, "hello")
    page.get_by_role("button", name="Start over").click()
    question = page.get_by_role("dialog", name="Start over?")
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    expect(turns(page)).to_have_text(texts("hello"))
    page.get_by_role("button", name="Start over").click()
    question.get_by_role("button", name="Start over").click()
    expect(turns(page)).to_have_count(0)
    expect(page.get_by_text("Say something.")).to_be_visible()
    expect(page.get_by_role("button", name="Start over")).to_be_hidden()
    converse(page, "and again")
    page.reload()
    expect(turns(page)).to_have_text(texts("and again"))


def test_it_has_the_name_of_the_chatbot_and_its_face(context: BrowserContext, site: Site) -> None:
    site.title = ""
    page = context.new_page()
    page.goto(site.url)
    page.get_by_role("button", name="Chat", exact=True).click()
    dialog = page.get_by_role("dialog", name="Ada")
    expect(dialog.get_by_role("heading", name="Ada", exact=True)).to_be_visible()
    converse(page, "hello")
    expect(dialog.locator(".turn.bot .unseen")).to_have_text("Ada said:")
    for face in (dialog.locator(".turn.bot .icon-face"), dialog.locator("header .icon-face")):
        expect(face).to_be_visible()
        assert face.evaluate("face => getComputedStyle(face).fill") != "none"


def test_a_typing_sign_shows_until_the_first_word(context: BrowserContext, site: Site) -> None:
    kept, released = list[tuple[WebSocketRoute, str | bytes]](), threading.Event()

    def keep_words_back(line: WebSocketRoute) -> None:
        def hand_on(frame: str | bytes) -> None:
            frame = re.sub(r'"partial":\[.+?\]', '"partial":[]', str(frame))
            are_words = re.search(r"reply\.(delta|completed)", frame)
            kept.append((line, frame)) if are_words and not released.is_set() else line.send(frame)

        line.connect_to_server().on_message(hand_on)

    context.route_web_socket(re.compile("socket.io"), keep_words_back)
    page = enter(context, site.url)
    counted = " ".join(str(number) for number in range(100))
    say(page, counted)
    expect(chat(page).get_by_role("img", name="typing")).to_be_visible()
    expect(page.get_by_role("button", name="Stop the reply")).to_be_enabled()
    released.set()
    for line, frame in kept:
        line.send(frame)
    expect(turns(page)).to_have_text(texts(counted))
    expect(chat(page).get_by_role("img", name="typing")).to_be_hidden()


def test_where_a_key_is_asked_for_it_is_said_that_one_cannot_chat(context: BrowserContext, site: Site) -> None:
    refusal = {"code": "unauthenticated", "message": "This server asks for an API key; connect with one."}
    packet = f"44{json.dumps({'message': refusal['message'], 'data': refusal})}"

    def refuse(line: WebSocketRoute) -> None:
        server = line.connect_to_server()
        line.on_message(lambda frame: line.send(packet) if str(frame).startswith("40") else server.send(frame))

    context.route_web_socket(re.compile("socket.io"), refuse)
    page = enter(context, site.url)
    expect(chat(page).get_by_role("alert")).to_have_text("This chatbot asks for a key, so it cannot be used here.")
    expect(box(page)).to_be_hidden()


def test_a_reply_is_stopped_and_a_lost_line_is_told_of_and_loses_nothing(context: BrowserContext, site: Site) -> None:
    page = enter(context, site.url)
    say(page, " ".join(str(number) for number in range(800)))
    expect(turns(page).last).to_have_text(re.compile("^You said: 0 1 2"))
    page.get_by_role("button", name="Stop the reply").click()
    expect(page.locator(".bot[data-status=stopped]")).to_contain_text("Stopped")
    context.set_offline(True)
    expect(chat(page).get_by_text("Reconnecting…")).to_be_visible()
    say(page, "still here?")
    expect(chat(page).get_by_text("Waiting to be sent")).to_be_visible()
    context.set_offline(False)
    expect(turns(page).last).to_have_text("You said: still here?")


def test_a_phone_is_filled_by_it_and_the_site_behind_it_left_alone(
    browser: Browser, site: Site, server: RunningServer
) -> None:
    context = browser.new_context(**PHONE, reduced_motion="reduce")
    page = enter(context, site.url)
    converse(page, "a" * 300, "words " * 40)
    moving = "() => document.getAnimations().filter((one) => one.effect.getComputedTiming().duration > 1).length"
    assert page.evaluate(moving) == 0
    assert chat(page).bounding_box() == {"x": 0, "y": 0, "width": 390, "height": 844}
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert chat(page).locator(".scroller").evaluate("one => one.scrollWidth - one.clientWidth") == 0
    for _ in range(12):  # the focus stays in it
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.localName") in ("chatbot-widget", "body")
    check_with_axe(page)
    chat(page).get_by_role("button", name="Close the chat").click()
    expect(chat(page)).to_be_hidden()
    expect(launcher(page)).to_be_focused()
    page.reload()
    expect(launcher(page)).to_be_visible()
    expect(chat(page)).to_be_hidden()
    context.close()


def test_axe_finds_no_serious_violation_in_it(context: BrowserContext, site: Site) -> None:
    page = context.new_page()
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(site.url)
    check_with_axe(page)
    launcher(page).click()
    converse(page, "hello")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        check_with_axe(page)
        page.get_by_role("button", name="Start over").click()
        check_with_axe(page)
        page.keyboard.press("Escape")


def test_on_a_site_from_right_to_left_it_stands_at_the_left(context: BrowserContext, site: Site) -> None:
    site.root = 'dir="rtl"'
    page = enter(context, site.url)
    converse(page, "مرحبا! كيف حالك؟", "hello")
    where = launcher(page).bounding_box()
    assert where is not None
    assert where["x"] < 100
    directions = turns(page).evaluate_all("all => all.map(text => getComputedStyle(text).direction)")
    assert directions[::2] == ["rtl", "ltr"]
