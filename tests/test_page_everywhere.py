"""The page at home everywhere: on any screen, by any means, with a conversation of any length and whatever is in it."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browsing import (
    box,
    converse,
    delete,
    downloaded,
    make_long,
    rename,
    say,
    texts,
    titles,
    transferred,
    turns,
    visit,
)
from tests.running_server import RunningServer

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1200, "height": 800}}
FIRST_LOAD = 150_000  # bytes
LONG = 5_000  # turns
PAYLOADS = 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("server"), delay=0, messages_per_minute=10_000)
    yield running
    running.kill()


@pytest.fixture
def page(context: BrowserContext, server: RunningServer) -> Page:
    return visit(context, server)


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_a_browser_that_keeps_nothing_for_a_site_can_chat_all_the_same(
    context: BrowserContext, server: RunningServer
) -> None:
    refuse = "Object.defineProperty(window, '%s', {get() { throw new DOMException('', 'SecurityError'); }});"
    context.add_init_script("".join(refuse % name for name in ("localStorage", "sessionStorage")))
    page = visit(context, server)
    converse(page, "Hello!", "And again.")
    page.context.set_offline(True)
    say(page, "Later.")
    page.context.set_offline(False)
    expect(turns(page)).to_have_text(texts("Hello!", "And again.", "Later."))


# Screens


def test_the_page_is_light_or_dark_as_the_system_or_as_chosen_in_any_tab(
    context: BrowserContext, server: RunningServer
) -> None:
    page, other = visit(context, server), visit(context, server)
    light = background(page)
    page.emulate_media(color_scheme="dark")
    dark = background(page)
    assert light != dark
    page.get_by_role("button", name="Settings").click()
    page.get_by_text("Light", exact=True).click()
    assert background(page) == light
    page.get_by_text("Dark", exact=True).click()
    expect(other.locator("html")).to_have_attribute("data-theme", "dark")
    assert background(other) == dark
    other.reload()
    assert background(other) == dark
    assert other.locator("meta[name=theme-color]").first.get_attribute("content") == dark


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_everything_without_scrolling_sideways(
    browser: Browser, server: RunningServer, width: int
) -> None:
    context = browser.new_context(**PHONE | {"viewport": {"width": width, "height": 700}})
    page = visit(context, server)
    converse(page, "a" * 300, "words " * 40)
    page.get_by_role("button", name="Another reply").last.click()
    expect(page.locator(".count:visible")).to_have_text("2/2")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.getElementById('scroller').scrollWidth") == width
    expect(titles(page).first).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    expect(titles(page).first).to_be_in_viewport()
    titles(page).first.click()
    expect(titles(page).first).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    page.get_by_role("link", name="New conversation").click()
    page.get_by_role("button", name="Conversations").click()
    page.get_by_role("button", name="Delete aaa").tap()  # one that is not open
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    context.close()


def test_text_from_right_to_left_and_emoji_stand_as_they_were_written(page: Page) -> None:
    said = ["مرحبا! كيف حالك؟", "שלום 👩🏽‍🚀🏳️‍🌈", "👨‍👩‍👧‍👦", "Ünïcödé ‮abc"]
    converse(page, *said)
    expect(turns(page)).to_have_text(texts(*said))
    directions = turns(page).evaluate_all("all => all.map(text => getComputedStyle(text).direction)")
    assert directions[::2] == ["rtl", "rtl", "ltr", "ltr"]


def test_nothing_moves_for_whoever_asks_for_less_motion(context: BrowserContext, server: RunningServer) -> None:
    page = visit(context, server)
    page.emulate_media(reduced_motion="reduce")
    converse(page, "hello")
    moving = """() => document.getAnimations().filter((one) => one.effect.getComputedTiming().duration > 1).length"""
    assert page.evaluate(moving) == 0


# Keyboard and screen reader


def test_everything_is_done_by_keys(context: BrowserContext, tmp_path: Path) -> None:
    server = RunningServer(tmp_path, delay=0.1)
    try:
        page = visit(context, server)
        expect(box(page)).to_be_focused()
        say(page, " ".join(str(number) for number in range(200)))
        expect(turns(page).last).to_have_text(re.compile("^You said: 0 1 2"))
        page.keyboard.press("Escape")
        expect(page.locator(".bot[data-status=stopped]")).to_be_visible()
        page.keyboard.press("Control+K")
        expect(page.get_by_label("Search conversations")).to_be_focused()
        page.keyboard.press("Control+/")
        settings = page.get_by_role("dialog", name="Settings")
        expect(settings.get_by_text("Edit your last message")).to_be_visible()
        page.keyboard.press("Escape")
        expect(settings).to_be_hidden()
        page.keyboard.press("Control+Shift+O")
        expect(page.get_by_role("heading", name="Say something.")).to_be_visible()
        expect(box(page)).to_be_focused()
    finally:
        server.kill()


def test_the_focus_is_always_visible_and_goes_everywhere(page: Page) -> None:
    converse(page, "hello")
    look = """() => {
        const { outlineStyle } = getComputedStyle(document.activeElement);
        const around = getComputedStyle(document.activeElement.parentElement);
        const name = document.activeElement.ariaLabel ?? document.activeElement.textContent.trim();
        const isOutlined = outlineStyle !== "none" || around.outlineStyle !== "none";
        return [name, isOutlined || document.activeElement.matches("textarea")];
    }"""
    seen = {}
    page.keyboard.press("Tab")  # past the end
    while "Your message" not in seen:
        page.keyboard.press("Tab")
        name, is_visible = page.evaluate(look)
        seen[name] = is_visible
    assert all(seen.values()), seen
    wanted = {"New conversation", "Search conversations", "Settings", "Save this conversation", "Your message"}
    wanted |= {"Edit message", "Copy", "Good reply", "Poor reply", "Suggest a better reply", "Another reply"}
    assert wanted <= seen.keys()


def test_the_conversation_is_a_live_region_and_every_control_has_a_name(page: Page) -> None:
    converse(page, "hello")
    log = page.get_by_role("log", name="Conversation")
    expect(log).to_have_attribute("aria-live", "polite")
    expect(log.get_by_role("article")).to_have_count(2)
    spoken = [  # as it is for what is nearest around
        part.evaluate("part => part.closest('[aria-live]').ariaLive")
        for part in (turns(page).last, log.locator(".bot .remark"), log.get_by_role("button", name="Another reply"))
    ]
    assert spoken == ["polite", "polite", "off"]
    for control in page.locator("button:visible, a:visible, input:visible, textarea:visible").all():
        expect(control).to_have_accessible_name(re.compile(r"\S"))


@pytest.mark.parametrize("screen", [DESKTOP, PHONE | {"color_scheme": "dark"}], ids=["desktop", "dark_phone"])
def test_axe_finds_no_serious_violation(browser: Browser, server: RunningServer, screen: dict[str, Any]) -> None:
    context = browser.new_context(**screen, reduced_motion="reduce")
    page = visit(context, server)
    check_with_axe(page)
    converse(page, "hello", "again")
    page.get_by_role("button", name="Another reply").last.click()
    expect(page.locator(".count:visible")).to_have_text("2/2")
    page.get_by_role("button", name="Poor reply").last.click()
    page.get_by_role("button", name="Edit message").first.click()
    check_with_axe(page)
    if page.get_by_role("button", name="Conversations").is_visible():
        page.get_by_role("button", name="Conversations").click()
    page.get_by_label("Search conversations").fill("again")
    expect(page.locator(".excerpt")).to_have_text("You said: again")
    check_with_axe(page)
    delete(page, "hello")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    check_with_axe(page)
    page.get_by_role("button", name="Settings").click()
    check_with_axe(page)
    context.close()


def check_with_axe(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious]


# Size


def test_the_first_load_is_small_and_a_second_one_smaller(browser: Browser, server: RunningServer) -> None:
    context = browser.new_context()
    page = context.new_page()
    first, again = transferred(page, server), transferred(page, server)
    context.close()
    assert again < first < FIRST_LOAD


def test_a_long_conversation_opens_at_its_end_and_can_be_read_to_its_beginning(
    page: Page, server: RunningServer
) -> None:
    conversation = make_long(page, server, LONG)
    page.reload()
    page.get_by_role("link", name="long").click()
    last = page.locator(".turn").last
    expect(last).to_contain_text(f"turn {LONG - 1}")
    expect(last).to_be_in_viewport()
    assert page.locator(".turn").count() < 200  # it is not all there at once
    reached = page.evaluate(SCROLL_UP, f"turn {LONG - 400}")
    assert reached["gaps"] == 0
    page.evaluate(LATE_FRAMES)
    say(page, "and on")
    expect(turns(page).last).to_have_text("You said: and on")
    expect(turns(page).last).to_be_in_viewport()
    assert page.url.endswith(conversation)


SCROLL_UP = """async (goal) => {
    const scroller = document.getElementById("scroller");
    const texts = () => [...document.querySelectorAll(".turn .text")].map((text) => text.textContent);
    while (!texts().includes(goal)) {
        scroller.scrollTop -= 2000;
        await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    }
    const places = texts().map((text) => Number(text.split(" ")[1]));
    return { gaps: places.filter((place, index) => index && place !== places[index - 1] + 1).length };
}"""

# The server answers before the page has drawn anything.
LATE_FRAMES = """() => {
    const soon = window.setTimeout;
    window.setTimeout = (then, ms, ...rest) => soon(then, ms === 16 ? 500 : ms, ...rest);
}"""


# Safety

OPENINGS = ["", '">', "'>", "</p>", "</script>", "</title>", "--><", "]]>", '\\"}', "`", "{{", "&lt;", "%3C", "\u2028"]
ATTACKS = [
    "<script>{}</script>",
    "<img src=x onerror={}>",
    "<svg onload='{}'>",
    "<svg><script>{}</script></svg>",
    "<iframe srcdoc='<script>{}</script>'></iframe>",
    "<iframe src='javascript:{}'></iframe>",
    "<a href='javascript:{}' autofocus onfocus='{}'>x</a>",
    "<input autofocus onfocus={}>",
    "<details open ontoggle={}>",
    "<video><source onerror='{}'></video>",
    "<object data='data:text/html,<script>{}</script>'></object>",
    "<math><mi xlink:href='javascript:{}'>x</mi></math>",
    "<style>@import 'javascript:{}'</style>",
    "<base href='javascript:{}//'>",
    "<template><img src=x onerror={}></template>",
    "javascript:{}",
    "data:text/html,<script>{}</script>",
    "${{{}}} {{{{constructor.constructor('{}')()}}}}",
    "<form action='javascript:{}'><button id=log name=textContent>x</button></form>",
]
HARM = ["window.hacked=1", "top.hacked=1", "alert(1)", "fetch('//evil.example')", "eval('window.hacked=1')"]


def payloads() -> list[str]:
    """As many different attempts as PAYLOADS, the same each time."""
    chance, made = random.Random(6), dict[str, None]()
    while len(made) < PAYLOADS:
        attack = chance.choice(ATTACKS)
        harm = chance.choice(HARM)
        text = chance.choice(OPENINGS) + attack.format(*[harm] * attack.count("{}"))
        made[text.swapcase() if chance.random() < 0.1 else text] = None
    return list(made)


def test_200_attempts_to_smuggle_in_a_script_stay_text(context: BrowserContext, server: RunningServer) -> None:
    page, alarms = visit(context, server), list[str]()
    page.on("dialog", lambda dialog: alarms.append(dialog.message))
    page.on("console", lambda message: alarms.append(message.text))
    page.on("request", lambda request: None if request.url.startswith(server.url) else alarms.append(request.url))
    attempts = payloads()
    conversation = page.evaluate(SMUGGLE, attempts)
    page.goto(f"{server.url}#{conversation}")
    page.reload()
    expect(turns(page).last).to_have_text(f"You said: {attempts[-1].strip()}")
    shown = {text.strip() for text in page.evaluate(TO_THE_TOP)}
    better = {f"You’d rather it had said: {attempt.strip()}" for attempt in attempts}
    assert shown == {text.strip() for text in texts(*attempts)} | better
    listed = titles(page).evaluate_all("all => all.map(title => title.textContent)")
    assert sorted(listed) == sorted(attempt.strip() for attempt in attempts)
    page.get_by_label("Search conversations").fill("hacked")
    expect(page.locator(".excerpt").filter(has_text="hacked").first).to_be_visible()
    for attempt in attempts[:20]:
        page.evaluate("attempt => { location.hash = attempt }", attempt)
    page.goto(f"{server.url}#{conversation}")
    page.get_by_role("button", name="Edit message").last.click()
    expect(page.get_by_label("Say this instead")).to_have_value(attempts[-1].strip())
    assert_in(downloaded(page, "Save as text", "conversation.txt"), attempts)
    assert_in(downloaded(page, "Save as chat JSONL", "conversation.jsonl"), attempts)
    assert page.evaluate("window.hacked") is None
    assert (
        page.locator(":is(.log, nav, h1, .undo) :is(script, img, iframe, object, style, svg:not(.icon))").count() == 0
    )
    assert alarms == []


SMUGGLE = """async (attempts) => {
    const { ChatClient } = await import("/static/client.js");
    const chat = new ChatClient(location.origin, { token: localStorage.getItem("chatbot.token") });
    await chat.connect();
    const conversation = await chat.create({ title: attempts[0] });
    for (const attempt of attempts) {
        const { reply_id } = await chat.send(conversation, attempt);
        chat.setFeedback(conversation, reply_id, -1, attempt);
    }
    await Promise.all(attempts.slice(1).map((title) => chat.create({ title })));
    chat.close();
    return conversation;
}"""
TO_THE_TOP = """async () => {
    const scroller = document.getElementById("scroller"), seen = new Set();
    const look = () => {
        const said = document.querySelectorAll(".turn :is(.text, .better:not([hidden]))");
        for (const text of said) seen.add(text.textContent);
    };
    do {
        look();
        scroller.scrollTop -= 2000;
        await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    } while (scroller.scrollTop > 0);
    look();
    return [...seen];
}"""


def assert_in(saved: str, attempts: list[str]) -> None:
    assert all(text.strip() in saved or json.dumps(text, ensure_ascii=False)[1:-1] in saved for text in attempts)


def test_an_export_is_a_file_and_no_page(page: Page, server: RunningServer) -> None:
    converse(page, payloads()[0])
    token = page.evaluate("localStorage.getItem('chatbot.token')")
    answer = page.request.get(f"{server.url}api/export", headers={"Authorization": f"Bearer {token}"})
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"].startswith("application/jsonl")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_nothing_is_loaded_from_elsewhere_and_nothing_offends_the_policy(
    context: BrowserContext, server: RunningServer
) -> None:
    page, requested, complaints = context.new_page(), [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    policy = page.goto(server.url).headers["content-security-policy"]  # type: ignore[union-attr]
    converse(page, "hello")
    rename(page, "hello", "renamed")
    page.get_by_role("button", name="Settings").click()
    assert "unsafe" not in policy
    assert complaints == []
    assert all(url.startswith(server.url) for url in requested), requested
    assert not any("?" in url.split("socket.io/")[-1] and "token" in url for url in requested)
