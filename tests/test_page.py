"""The real page in the system's Chromium, against the real server with an echoing engine."""

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from chatbot.history import open_history
from tests.running_server import RunningServer

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update"]
CODES = ["unauthenticated", "forbidden", "not_found", "invalid", "too_large", "rate_limited", "overloaded", "busy"]
CODES += ["idempotency_conflict", "draining", "internal"]
PATIENCE = 15_000  # ms, for a machine that does other things as well
COUNTED = " ".join(str(number) for number in range(20))
XSS = [
    "<script>window.hacked = true</script>",
    "<img src=x onerror='window.hacked = true'>",
    "</p><svg onload='window.hacked = true'>",
    "javascript:window.hacked=true",
    "{{ ''.__class__ }} ${window.hacked = true}",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert path, "Chromium is needed for the page's tests: install it with 'sudo apt-get install chromium'."
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE)
        chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("server"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def mortal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("slow_server"), delay=0.15)
    yield running
    running.kill()


@pytest.fixture
def slow_server(mortal_server: RunningServer) -> RunningServer:
    """A server that streams slowly enough to be interrupted; it runs again if the test before left it dead."""
    if not mortal_server.running:
        mortal_server.start()
    return mortal_server


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A person's browser: a fresh one has no identity yet."""
    made, errors = browser.new_context(viewport={"width": 1200, "height": 800}), []
    made.on("weberror", lambda error: errors.append(str(error.error)))
    yield made
    made.close()
    assert errors == []


@pytest.fixture
def page(context: BrowserContext, server: RunningServer) -> Page:
    return visit(context, server)


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


def test_three_turns_are_shown_in_order(page: Page) -> None:
    converse(page, "one", "two", "three")
    expect(turns(page)).to_have_text(texts("one", "two", "three"))


def test_a_typing_sign_shows_until_the_first_word_and_then_the_words_stream(
    context: BrowserContext, slow_server: RunningServer
) -> None:
    page = visit(context, slow_server)
    page.evaluate("""() => {
        window.seen = [];
        const look = () => {
            const reply = document.querySelector(".bot");
            if (!reply) return;
            seen.push(reply.querySelector(".typing").hidden ? reply.querySelector(".text").textContent : "…");
        };
        const all = { subtree: true, childList: true, characterData: true, attributes: true };
        new MutationObserver(look).observe(document.getElementById("log"), all);
    }""")
    converse(page, COUNTED)
    seen = list(dict.fromkeys(page.evaluate("seen")))  # in order, without repetitions
    whole = f"You said: {COUNTED}"
    assert seen[0] == "…"
    assert seen[-1] == whole
    assert len(seen) > 3, seen
    assert all(whole.startswith(text) for text in seen[1:])
    assert seen[1:] == sorted(seen[1:], key=len)


def test_a_reply_stopped_in_the_middle_stays_so(context: BrowserContext, slow_server: RunningServer) -> None:
    page = visit(context, slow_server)
    say(page, " ".join(str(number) for number in range(200)))
    expect(turns(page).last).to_have_text(re.compile("^You said: 0 1 2"))
    page.get_by_role("button", name="Stop the reply").click()
    expect(page.locator(".bot[data-status=stopped]")).to_contain_text("Stopped")
    left = turns(page).last.inner_text()
    page.reload()
    expect(turns(page).last).to_have_text(left)
    converse(page, "go on")


def test_a_reply_that_failed_can_be_tried_again_until_more_was_said(page: Page) -> None:
    failed, again = page.locator(".bot[data-status=failed]"), page.get_by_role("button", name="Try again")
    say(page, "please fail")
    expect(failed).to_contain_text("This reply could not be finished")
    page.reload()
    again.click()
    expect(turns(page)).to_have_text(texts("please fail"))
    expect(failed).to_have_count(0)
    say(page, "please fail")
    expect(again).to_be_visible()
    converse(page, "never mind")
    expect(failed).to_be_visible()
    expect(again).to_be_hidden()


def test_thumbs_are_remembered_over_a_reload_and_can_be_taken_back(page: Page) -> None:
    converse(page, "first", "second")
    good = page.get_by_role("button", name="Good reply")
    poor = page.get_by_role("button", name="Poor reply")
    good.first.click()
    poor.last.click()
    expect(good.first).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(good.first).to_have_attribute("aria-pressed", "true")
    expect(good.last).to_have_attribute("aria-pressed", "false")
    expect(poor.last).to_have_attribute("aria-pressed", "true")
    good.first.click()
    expect(good.first).to_have_attribute("aria-pressed", "false")


def test_a_reply_survives_the_death_of_the_server(context: BrowserContext, slow_server: RunningServer) -> None:
    page = visit(context, slow_server)
    converse(page, "before")
    say(page, COUNTED)
    expect(turns(page).last).to_have_text(re.compile("^You said: 0"))
    slow_server.kill()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    slow_server.start()
    expect(finished(page)).to_have_count(2)
    expect(turns(page)).to_have_text(texts("before", COUNTED))
    converse(page, "after")
    page.reload()
    expect(turns(page)).to_have_text(texts("before", COUNTED, "after"))


def test_a_reload_in_the_middle_of_a_reply_goes_on_with_it(context: BrowserContext, slow_server: RunningServer) -> None:
    page = visit(context, slow_server)
    counted = " ".join(str(number) for number in range(60))
    say(page, counted)
    expect(turns(page).last).to_have_text(re.compile("^You said: 0 1 2"))
    page.reload()
    expect(page.locator(".bot[data-status=streaming] .text")).to_have_text(re.compile("^You said: 0 1 2 3 4 5 6 7 8 9"))
    page.get_by_role("button", name="Stop the reply").click()
    expect(page.locator(".bot[data-status=stopped]")).to_be_visible()
    assert f"You said: {counted}".startswith(turns(page).last.inner_text())


def test_what_happened_elsewhere_during_an_outage_is_shown(context: BrowserContext, server: RunningServer) -> None:
    away, here = visit(context, server), visit(context, server)
    converse(away, "before")
    here.goto(away.url)
    away.evaluate("window.dispatchEvent(new Event('offline'))")  # the socket client drops its connection at this event
    expect(away.get_by_text("Reconnecting…")).to_be_visible()
    converse(here, "meanwhile")
    expect(turns(away)).to_have_text(texts("before", "meanwhile"))


@pytest.mark.parametrize("reloaded", [False, True], ids=["waiting", "reloaded"])
def test_a_message_written_offline_is_sent_once(
    context: BrowserContext, slow_server: RunningServer, reloaded: bool
) -> None:
    page, other = visit(context, slow_server), visit(context, slow_server)
    converse(page, "before")
    slow_server.kill()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    say(page, "during")
    expect(page.get_by_text("Waiting to be sent")).to_be_visible()
    slow_server.start()
    if reloaded:
        page.reload()
    expect(finished(page)).to_have_count(2)
    other.goto(page.url)
    other.reload()
    expect(finished(other)).to_have_count(2)
    expect(turns(other)).to_have_text(texts("before", "during"))
    wait_for_empty_outbox(page)


def test_a_message_whose_acknowledgement_was_lost_is_not_said_twice(page: Page) -> None:
    converse(page, "once")
    sent = page.evaluate(  # as if the page had died between the server's commit and its acknowledgement
        """async () => {
            const { unread, applyEvent } = await import("/static/conversation.js");
            const { io } = await import("/static/vendor/socket.io-client/socket.io.esm.min.mjs");
            const auth = { token: localStorage.getItem("chatbot.token"), protocol: 1 };
            const socket = io({ transports: ["websocket"], forceNew: true, auth });
            await new Promise((resolve) => socket.once("ready", resolve));
            const conversation_id = location.hash.slice(1);
            const { events } = await socket.emitWithAck("sync", { conversation_id, after_seq: 0 });
            const { client_msg_id, text } = events.find(({ type }) => type === "message.created").data;
            localStorage.setItem("chatbot.outbox", JSON.stringify([{ client_msg_id, conversation_id, text }]));
            socket.close();
            return text;
        }"""
    )
    assert sent == "once"
    page.reload()
    wait_for_empty_outbox(page)
    expect(turns(page)).to_have_text(texts("once"))


def wait_for_empty_outbox(page: Page) -> None:
    for _ in range(200):
        if page.evaluate("localStorage.getItem('chatbot.outbox')") == "[]":
            return
        page.wait_for_timeout(25)
    pytest.fail("A message that the server has is still in the outbox.")


def test_the_first_message_can_be_written_offline(context: BrowserContext, slow_server: RunningServer) -> None:
    page = visit(context, slow_server)
    slow_server.kill()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    say(page, "anybody there?")
    say(page, "hello?")
    slow_server.start()
    expect(finished(page)).to_have_count(2)
    expect(turns(page)).to_have_text(texts("anybody there?", "hello?"))
    expect(titles(page)).to_have_text(["anybody there?"])


@pytest.mark.parametrize("token", [None, "of another server"], ids=["new", "unknown"])
def test_two_tabs_that_ask_who_they_are_at_once_are_one_person(
    context: BrowserContext, server: RunningServer, token: str | None
) -> None:
    first, second = visit(context, server), context.new_page()
    converse(first, "mine")
    second.add_init_script(  # it asks as it would have done before the first tab was answered
        """{
            const find = Storage.prototype.getItem;
            Storage.prototype.getItem = function (key) {
                if (key !== "chatbot.token") return find.call(this, key);
                Storage.prototype.getItem = find;
                return TOKEN;
            };
        }""".replace("TOKEN", json.dumps(token))
    )
    second.goto(server.url)
    expect(titles(second)).to_have_text(["mine"])
    first.reload()
    expect(turns(first)).to_have_text(texts("mine"))


def test_two_tabs_stay_in_step(context: BrowserContext, server: RunningServer) -> None:
    left, right = visit(context, server), visit(context, server)
    converse(left, "hello")
    expect(titles(right)).to_have_text(["hello"])
    titles(right).first.click()
    expect(turns(right)).to_have_text(texts("hello"))
    converse(right, "from the right")
    expect(turns(left)).to_have_text(texts("hello", "from the right"))
    left.bring_to_front()  # a tab behind another is slow to be clicked at
    left.get_by_role("button", name="Good reply").last.click()
    expect(right.get_by_role("button", name="Good reply").last).to_have_attribute("aria-pressed", "true")
    rename(left, "hello", "greetings")
    expect(right.get_by_role("heading", name="greetings")).to_be_visible()
    delete(left, "greetings")
    expect(titles(right)).to_have_count(0)
    expect(right.get_by_role("heading", name="Say something.")).to_be_visible()


def rename(page: Page, old: str, new: str) -> None:
    page.get_by_role("button", name=f"Rename {old}").click()
    page.get_by_label("New title").fill(new)
    page.get_by_label("New title").press("Enter")


def delete(page: Page, title: str) -> None:
    page.get_by_role("button", name=f"Delete {title}").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()


def learning(page: Page) -> Locator:
    return page.get_by_role("switch")


def test_a_conversation_is_learned_from_only_where_its_switch_is_on(
    context: BrowserContext, server: RunningServer
) -> None:
    left, right = visit(context, server), visit(context, server)
    expect(learning(left)).to_have_accessible_name("Stored, not learned from")
    learning(left).press("Space")
    expect(learning(left)).to_be_checked()
    converse(left, "learn this")
    expect(learning(left)).to_be_checked()
    titles(right).first.click()
    expect(learning(right)).to_have_accessible_name("The bot may learn from this conversation")
    learning(right).press("Enter")
    expect(learning(right)).not_to_be_checked()
    expect(learning(left)).not_to_be_checked()
    learning(left).click()
    expect(learning(right)).to_be_checked()
    left.reload()
    expect(learning(left)).to_be_checked()
    left.get_by_role("link", name="New conversation").click()
    expect(learning(left)).not_to_be_checked()


def test_a_learning_choice_made_offline_counts_for_the_conversation_begun_then(
    context: BrowserContext, slow_server: RunningServer
) -> None:
    page = visit(context, slow_server)
    slow_server.kill()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    say(page, "first said")
    learning(page).click()
    page.close()
    slow_server.start()
    page = visit(context, slow_server)
    expect(finished(page)).to_have_count(1)
    expect(learning(page)).to_be_checked()


def test_a_better_reply_can_be_given_changed_and_taken_back(context: BrowserContext, server: RunningServer) -> None:
    page, other = visit(context, server), visit(context, server)
    converse(page, "hello")
    other.goto(page.url)
    page.get_by_role("button", name="Poor reply").click()
    instead = page.get_by_label("I’d rather it had said")
    instead.fill(XSS[1])
    instead.press("Enter")
    expect(other.locator(".better")).to_have_text(f"You’d rather it had said: {XSS[1]}")
    expect(other.get_by_role("button", name="Poor reply")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.locator(".better")).to_have_text(f"You’d rather it had said: {XSS[1]}")
    page.get_by_role("button", name="Suggest a better reply").press("Enter")
    expect(instead).to_be_focused()
    expect(instead).to_have_value(XSS[1])
    instead.fill("Not this")
    instead.press("Escape")
    expect(page.locator(".better")).to_contain_text(XSS[1])
    page.get_by_role("button", name="Suggest a better reply").click()
    instead.fill("")
    page.get_by_role("button", name="Save").click()
    expect(other.locator(".better")).to_be_hidden()
    page.get_by_role("button", name="Poor reply").click()
    expect(other.get_by_role("button", name="Poor reply")).to_have_attribute("aria-pressed", "false")


def test_a_better_reply_that_cannot_be_saved_is_not_lost(context: BrowserContext, slow_server: RunningServer) -> None:
    page = visit(context, slow_server)
    converse(page, "hello")
    page.get_by_role("button", name="Suggest a better reply").click()
    slow_server.kill()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    page.get_by_label("I’d rather it had said").fill("Good day")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no connection right now.")
    expect(page.get_by_label("I’d rather it had said")).to_have_value("Good day")


def test_all_conversations_can_be_downloaded(page: Page) -> None:
    converse(page, "one")
    page.get_by_role("link", name="New conversation").click()
    expect(turns(page)).to_have_count(0)
    converse(page, "two")
    page.get_by_text("Your data").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download my conversations").click()
    assert download.value.suggested_filename == "conversations.jsonl"
    lines = Path(download.value.path()).read_text().splitlines()
    said = [[message["content"] for message in json.loads(line)["messages"]] for line in lines]
    assert said == [texts("one"), texts("two")]


def test_everything_is_deleted_after_a_yes_and_every_tab_starts_afresh(
    context: BrowserContext, server: RunningServer
) -> None:
    page, other = visit(context, server), visit(context, server)
    converse(page, "forget me")
    other.goto(page.url)
    expect(turns(other)).to_have_text(texts("forget me"))
    token = page.evaluate("localStorage.getItem('chatbot.token')")
    page.get_by_text("Your data").press("Enter")
    page.get_by_role("button", name="Delete everything").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep everything").click()
    expect(titles(page)).to_have_text(["forget me"])
    page.get_by_role("button", name="Delete everything").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete everything").click()
    for tab in (page, other):
        expect(titles(tab)).to_have_count(0)
        expect(turns(tab)).to_have_count(0)
    converse(other, "a new start")
    expect(titles(page)).to_have_text(["a new start"])
    assert page.evaluate("localStorage.getItem('chatbot.token')") not in (token, None)
    assert "forget" not in page.evaluate("JSON.stringify(localStorage)")


def test_who_was_erased_elsewhere_starts_afresh(context: BrowserContext, server: RunningServer) -> None:
    page = visit(context, server)
    stored = open_history(server.database)
    user = stored.user_of(page.evaluate("localStorage.getItem('chatbot.token')"))
    assert user
    stored.delete_user(user)
    stored.engine.dispose()
    say(page, "anybody?")
    expect(page.get_by_text("This server does not know this browser any more").first).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(turns(page)).to_have_text(texts("anybody?"))


def test_conversations_are_begun_opened_renamed_and_deleted(page: Page) -> None:
    converse(page, "apples")
    page.get_by_role("link", name="New conversation").click()
    expect(turns(page)).to_have_count(0)
    converse(page, "pears")
    expect(titles(page)).to_have_text(["pears", "apples"])
    titles(page).last.click()
    expect(turns(page)).to_have_text(texts("apples"))
    rename(page, "apples", "fruit")
    expect(titles(page)).to_have_text(["pears", "fruit"])
    delete(page, "fruit")
    expect(titles(page)).to_have_text(["pears"])
    page.reload()
    expect(titles(page)).to_have_text(["pears"])


def test_a_conversation_is_deleted_only_after_a_yes(page: Page) -> None:
    converse(page, "keep me")
    page.get_by_role("button", name="Delete keep me").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Rename keep me").click()
    page.get_by_label("New title").fill("not this")
    page.get_by_label("New title").press("Escape")
    page.reload()
    expect(titles(page)).to_have_text(["keep me"])


def test_a_link_leads_to_its_conversation(context: BrowserContext, page: Page, server: RunningServer) -> None:
    converse(page, "linked")
    fragment = page.url.removeprefix(server.url)
    assert re.fullmatch(r"#[0-9a-f-]{36}", fragment)
    expect(turns(visit(context, server, fragment))).to_have_text(texts("linked"))


@pytest.mark.parametrize("fragment", ["#00000000-0000-4000-8000-000000000000", "#nonsense"])
def test_a_link_to_nowhere_says_so(context: BrowserContext, server: RunningServer, fragment: str) -> None:
    page = visit(context, server, fragment)
    expect(page.get_by_role("alert")).to_contain_text("That conversation does not exist any more.")
    converse(page, "a new one")
    expect(turns(page)).to_have_text(texts("a new one"))


def test_a_long_conversation_is_read_in_pages(page: Page) -> None:
    script = """async (count) => {
        const { io } = await import("/static/vendor/socket.io-client/socket.io.esm.min.mjs");
        const auth = { token: localStorage.getItem("chatbot.token"), protocol: 1 };
        const socket = io({ transports: ["websocket"], forceNew: true, auth });
        await new Promise((resolve) => socket.once("ready", resolve));
        const { conversation_id } = await socket.emitWithAck("conversation.create", { title: "long" });
        for (let turn = 0; turn < count; turn++) {
            const done = new Promise((resolve) =>
                socket.on("event", ({ type }) => type === "reply.completed" && resolve()));
            const client_msg_id = crypto.randomUUID();
            await socket.emitWithAck("message.send", { conversation_id, client_msg_id, text: `turn ${turn}` });
            await done;
        }
        socket.close();
    }"""
    page.evaluate(script, 75)  # 225 events; a page of sync has 200
    titles(page).first.click()
    expect(finished(page)).to_have_count(75)
    expect(turns(page).last).to_have_text("You said: turn 74")
    expect(turns(page).last).to_be_in_viewport()


def test_enter_sends_and_shift_enter_breaks_the_line(page: Page) -> None:
    box(page).press_sequentially("one")
    box(page).press("Shift+Enter")
    box(page).press_sequentially("two")
    box(page).press("Enter")
    expect(turns(page).first).to_have_text("one\ntwo", use_inner_text=True)
    expect(box(page)).to_have_value("")
    expect(box(page)).to_be_focused()


def test_markup_in_messages_and_titles_stays_text(page: Page) -> None:
    converse(page, *XSS)
    rename(page, "<script>", XSS[1])
    expect(titles(page)).to_have_text([XSS[1]])
    page.reload()
    expect(turns(page)).to_have_text(texts(*XSS))
    expect(page.get_by_role("heading", name=XSS[1])).to_be_visible()
    assert page.evaluate("window.hacked") is None
    assert page.locator(".log :is(script, img, svg:not(.icon)), nav :is(script, img)").count() == 0


def test_nothing_is_loaded_from_elsewhere_and_nothing_offends_the_policy(
    context: BrowserContext, server: RunningServer
) -> None:
    page, requested, complaints = context.new_page(), [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    policy = page.goto(server.url).headers["content-security-policy"]  # type: ignore[union-attr]
    converse(page, "hello")
    assert "unsafe" not in policy
    assert complaints == []
    assert all(url.startswith(server.url) for url in requested), requested


def test_the_conversation_is_a_live_region_and_every_control_has_a_name(page: Page) -> None:
    converse(page, "hello")
    log = page.get_by_role("log", name="Conversation")
    expect(log).to_have_attribute("aria-live", "polite")
    expect(log.get_by_role("article")).to_have_count(2)
    for control in page.locator("button:visible, a:visible, input:visible, textarea:visible").all():
        expect(control).to_have_accessible_name(re.compile(r"\S"))


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_everything_without_scrolling_sideways(
    browser: Browser, server: RunningServer, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 700}, has_touch=True, is_mobile=True)
    page = visit(context, server)
    converse(page, "a" * 300, "words " * 40)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.getElementById('scroller').scrollWidth") == width
    expect(titles(page).first).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    expect(titles(page).first).to_be_in_viewport()
    titles(page).first.click()
    expect(titles(page).first).to_be_hidden()
    context.close()


def test_a_message_that_is_too_long_is_not_sent(page: Page) -> None:
    box(page).fill("😀" * 4001)
    expect(page.get_by_text("1 too many")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    box(page).press("Enter")
    expect(turns(page)).to_have_count(0)
    box(page).fill("😀" * 4000)
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


def test_a_refusal_for_now_is_explained_and_the_message_kept(context: BrowserContext, tmp_path: Path) -> None:
    server = RunningServer(tmp_path, messages_per_minute=1)
    try:
        page = visit(context, server)
        converse(page, "first")
        say(page, "second")
        expect(page.get_by_role("alert")).to_contain_text("That was more than this server allows at once.")
        expect(turns(page)).to_have_text([*texts("first"), "second"])
    finally:
        server.kill()


def test_a_refused_message_can_be_taken_back_and_said_otherwise(page: Page) -> None:
    converse(page, "hello")
    refused = {"client_msg_id": "not-a-uuid", "conversation_id": page.url.split("#")[1], "text": "draft"}
    page.evaluate("message => localStorage.setItem('chatbot.outbox', JSON.stringify([message]))", refused)
    page.reload()
    expect(page.get_by_text("The server could not accept that:")).to_be_visible()
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(box(page)).to_have_value("draft")
    box(page).press("Enter")
    expect(finished(page)).to_have_count(2)
    expect(turns(page)).to_have_text(texts("hello", "draft"))


def test_a_server_that_does_not_know_this_browser_gives_it_a_new_start(
    context: BrowserContext, server: RunningServer
) -> None:
    page = context.new_page()
    page.goto(server.url)
    page.evaluate("localStorage.setItem('chatbot.token', 'of another server')")
    page.reload()
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    converse(page, "hello again")


def test_every_error_code_has_its_own_sentence(page: Page) -> None:
    script = """async (codes) => {
        const { sentenceFor } = await import("/static/sentences.js");
        return codes.map((code) => sentenceFor({ code, message: "why" }));
    }"""
    sentences = page.evaluate(script, CODES)
    assert len(set(sentences)) == len(CODES)
    assert all(re.fullmatch(r"[A-Z].*[.y]", sentence) for sentence in sentences), sentences


def test_events_lost_doubled_and_out_of_order_lead_to_the_same_conversation(page: Page) -> None:
    script = """async ({ events, arrivals }) => {
        const { activePath, applyDelta, applyEvent, applySync, isBehind, unread } =
            await import("/static/conversation.js");
        const whole = (log) => JSON.stringify([log.seq, activePath(log)]);
        const straight = applySync(unread, { events, more: false, partial: [] });
        let log = { ...unread, more: false };
        for (const arrival of arrivals) {
            log = "index" in arrival ? applyDelta(log, arrival) : applyEvent(log, arrival);
        }
        const wasBehind = isBehind(log);
        if (wasBehind) log = applySync(log, { events: events.slice(log.seq), more: false, partial: [] });
        return { same: whole(log) === whole(straight), behind: isBehind(log), path: activePath(log).length };
    }"""
    events = conversation_events(turns=4)
    for seed in range(40):
        chance = random.Random(seed)
        arrivals: list[dict[str, Any]] = [event for event in events for _ in range(chance.choice([0, 1, 1, 2]))]
        arrivals += [{"reply_id": "r2", "index": index, "text": "w"} for index in range(3)]
        chance.shuffle(arrivals)
        arrivals.append(events[-1])  # without it nothing tells that there was more
        assert page.evaluate(script, {"events": events, "arrivals": arrivals}) == {
            "same": True,
            "behind": False,
            "path": 8,
        }, f"seed {seed}"


def test_a_known_event_changes_nothing_and_a_restarted_reply_begins_anew(page: Page) -> None:
    script = """async (events) => {
        const { activePath, afterReconnect, applyDelta, applyEvent, unread } = await import("/static/conversation.js");
        const log = events.reduce(applyEvent, unread);
        const say = (log, index, text) => applyDelta(log, { reply_id: "r0", index, text });
        const interrupted = say(say(log, 0, "old"), 1, " words");
        const restarted = say(afterReconnect(interrupted), 0, "new");
        const text = (log) => activePath(log).at(-1).text;
        return [applyEvent(log, events[0]) === log, text(interrupted), text(say(interrupted, 1, "x")), text(restarted)];
    }"""
    started = conversation_events(turns=1)[:2]
    assert page.evaluate(script, started) == [True, "old words", "old words", "new"]


def test_a_retrieved_reply_says_that_these_are_the_words_of_somebody_else(page: Page) -> None:
    script = """async (turns) => {
        const { turnView } = await import("/static/turn.js");
        return turns.map((turn) => {
            const { node, update } = turnView({ role: "bot" }, {});
            update({ role: "bot", status: "completed", text: "So do I.", rating: 0, ...turn });
            return node.querySelector(".remark").textContent;
        });
    }"""
    remarks = page.evaluate(script, [{"retrieved": True}, {"retrieved": False}, {}])
    assert remarks == ["In the words of someone in another dialogue", "", ""]


def conversation_events(turns: int) -> list[dict[str, Any]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for turn in range(turns):
        parent = f"r{turn - 1}" if turn else None
        message = {"message_id": f"m{turn}", "client_msg_id": f"c{turn}", "parent_id": parent, "text": "hi"}
        reply = {"reply_id": f"r{turn}", "parent_id": f"m{turn}"}
        found.append(("message.created", message))
        found.append(("reply.started", reply))
        found.append(("reply.completed", reply | {"text": f"answer {turn}", "status": "completed"}))
    found.append(("feedback.set", {"reply_id": "r1", "rating": 1}))
    return [{"seq": seq, "type": type, "data": data} for seq, (type, data) in enumerate(found, start=1)]
