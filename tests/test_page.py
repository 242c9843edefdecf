"""The real page in the system's Chromium, against the real server with an echoing engine."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import APIResponse, BrowserContext, Locator, Page, expect

from chatbot.history import open_history
from chatbot.keys import Keys
from tests.browsing import box, converse, delete, downloaded, finished, rename, say, texts, titles, turns, visit
from tests.running_server import RunningServer

CODES = ["unauthenticated", "forbidden", "not_found", "invalid", "too_large", "rate_limited", "overloaded", "busy"]
CODES += ["idempotency_conflict", "draining", "internal"]
MARKUP = "<img src=x onerror='window.hacked = true'>"
COUNTED = " ".join(str(number) for number in range(20))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("server"), name="Ada O'Hara")
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
def page(context: BrowserContext, server: RunningServer) -> Page:
    return visit(context, server)


def test_three_turns_are_shown_in_order(page: Page) -> None:
    converse(page, "one", "two", "three")
    expect(turns(page)).to_have_text(texts("one", "two", "three"))


def test_the_chatbot_has_its_name_and_its_face(page: Page) -> None:
    expect(page).to_have_title("Ada O'Hara")
    expect(page.get_by_role("navigation").get_by_text("Ada O'Hara", exact=True)).to_be_visible()
    converse(page, "one")
    expect(page).to_have_title("one · Ada O'Hara")
    expect(page.locator(".turn.bot .unseen").first).to_have_text("Ada O'Hara said:")
    face = page.locator(".turn.bot .face")
    expect(face).to_be_visible()
    assert face.evaluate("face => face.querySelector('use').getBBox().width") > 10
    assert face.evaluate("face => getComputedStyle(face).fill") != "none"
    expect(page.get_by_text("Chatbot", exact=True)).to_have_count(0)


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


def test_a_message_without_a_visible_character_cannot_be_sent(page: Page) -> None:
    composer, send = box(page), page.get_by_role("button", name="Send")
    for unseen in ("  \n ", "\u200b\u200d", "\u2800\u00ad"):
        composer.fill(unseen)
        expect(send).to_be_disabled()
        composer.press("Enter")
    expect(turns(page)).to_have_count(0)
    composer.fill("\u200bHello")
    expect(send).to_be_enabled()


def test_a_reply_that_failed_can_be_tried_again_later_too(page: Page) -> None:
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
    again.click()
    expect(turns(page)).to_have_text(texts("please fail", "please fail"))


def versions(page: Page) -> Locator:
    return page.locator(".steps:visible .count")


def step(page: Page, to: str) -> Locator:
    return page.get_by_role("button", name=f"{to} version")


def test_another_reply_stands_beside_the_first_one_in_every_tab(context: BrowserContext, server: RunningServer) -> None:
    page, other = visit(context, server), visit(context, server)
    converse(page, "hello")
    page.get_by_role("button", name="Good reply").click()
    another = page.get_by_role("button", name="Another reply")
    left = "button => button.getBoundingClientRect().x"
    place = another.evaluate(left)
    another.click()
    expect(versions(page)).to_have_text(["2/2"])
    assert another.evaluate(left) == place  # whoever clicks again there wants a third one
    expect(page.get_by_role("button", name="Good reply")).to_have_attribute("aria-pressed", "false")
    other.goto(page.url)
    expect(step(other, "Later")).to_be_disabled()
    step(other, "Earlier").press("Enter")
    for tab in (page, other):
        expect(versions(tab)).to_have_text(["1/2"])
        expect(tab.get_by_role("button", name="Good reply")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(versions(page)).to_have_text(["1/2"])
    expect(turns(page)).to_have_text(texts("hello"))


def test_an_earlier_message_is_edited_into_a_branch_and_both_go_on(page: Page, server: RunningServer) -> None:
    converse(page, "one", "two", "three")
    page.get_by_role("button", name="Edit message").nth(1).click()
    instead = page.get_by_label("Say this instead")
    expect(instead).to_be_focused()
    expect(instead).to_have_value("two")
    instead.fill("zwei")
    instead.press("Enter")
    expect(turns(page)).to_have_text(texts("one", "zwei"))
    expect(finished(page)).to_have_count(2)
    converse(page, "drei")
    expect(versions(page)).to_have_text(["2/2"])
    step(page, "Earlier").click()
    expect(turns(page)).to_have_text(texts("one", "two", "three"))
    expect(step(page, "Later")).to_be_focused()  # its own arrow has nowhere to go
    converse(page, "four")
    step(page, "Later").click()
    expect(turns(page)).to_have_text(texts("one", "zwei", "drei"))
    page.reload()
    expect(turns(page)).to_have_text(texts("one", "zwei", "drei"))
    exported = asked(page, server, f"api/conversations/{page.url.split('#')[1]}/export").json()
    assert [message["content"] for message in exported["messages"]] == texts("one", "zwei", "drei")


def test_the_arrow_up_edits_what_was_said_last_and_escape_gives_it_up(page: Page) -> None:
    converse(page, "one", "two")
    box(page).press("ArrowUp")
    instead = page.get_by_label("Say this instead")
    expect(instead).to_be_focused()
    instead.fill("never mind")
    instead.press("Escape")
    expect(page.get_by_role("button", name="Edit message").last).to_be_focused()
    expect(turns(page)).to_have_text(texts("one", "two"))
    expect(versions(page)).to_have_count(0)


def test_an_edit_made_offline_goes_out_once(context: BrowserContext, slow_server: RunningServer) -> None:
    page = visit(context, slow_server)
    converse(page, "one", "two")
    slow_server.kill()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    page.get_by_role("button", name="Edit message").first.click()
    page.get_by_label("Say this instead").fill("eins")
    page.get_by_role("button", name="Send", exact=True).first.click()
    expect(turns(page)).to_have_text(["eins"])
    expect(page.get_by_text("Waiting to be sent")).to_be_visible()
    slow_server.start()
    expect(turns(page)).to_have_text(texts("eins"))
    expect(versions(page)).to_have_text(["2/2"])


@pytest.mark.parametrize("has_clipboard", [True, False], ids=["secure", "plain_http"])
def test_what_was_said_can_be_copied(page: Page, has_clipboard: bool) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    converse(page, "copy that")
    if not has_clipboard:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy", exact=True).last.click()
    expect(page.get_by_role("button", name="Copied")).to_be_focused()
    box(page).press("Control+V")
    expect(box(page)).to_have_value("You said: copy that")


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
    expect(learning(right)).to_have_accessible_name("Ada O'Hara may learn from this conversation")
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
    instead.fill(MARKUP)
    instead.press("Enter")
    expect(other.locator(".better")).to_have_text(f"You’d rather it had said: {MARKUP}")
    expect(other.get_by_role("button", name="Poor reply")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.locator(".better")).to_have_text(f"You’d rather it had said: {MARKUP}")
    page.get_by_role("button", name="Suggest a better reply").press("Enter")
    expect(instead).to_be_focused()
    expect(instead).to_have_value(MARKUP)
    instead.fill("Not this")
    instead.press("Escape")
    expect(page.locator(".better")).to_contain_text(MARKUP)
    page.get_by_role("button", name="Suggest a better reply").click()
    instead.fill("")
    page.get_by_role("button", name="Save", exact=True).click()
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
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("There is no connection right now.")
    expect(page.get_by_label("I’d rather it had said")).to_have_value("Good day")


def test_all_conversations_can_be_downloaded(page: Page) -> None:
    converse(page, "one")
    page.get_by_role("link", name="New conversation").click()
    expect(turns(page)).to_have_count(0)
    converse(page, "two")
    page.get_by_role("button", name="Settings").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download my conversations").click()
    assert download.value.suggested_filename == "conversations.jsonl"
    lines = Path(download.value.path()).read_text().splitlines()
    said = [[message["content"] for message in json.loads(line)["messages"]] for line in lines]
    assert said == [texts("one"), texts("two")]


def test_one_conversation_is_saved_as_text_and_as_chat_jsonl(page: Page) -> None:
    expect(page.get_by_role("button", name="Save this conversation")).to_be_hidden()
    converse(page, "شكرا 👩🏽‍🚀", "two\tlines")
    said = texts("شكرا 👩🏽‍🚀", "two\tlines")
    text = downloaded(page, "Save as text", "conversation.txt")
    assert text == "\n".join(f"{who}: {line}\n" for who, line in zip(["You", "Ada O'Hara"] * 2, said, strict=True))
    [line] = downloaded(page, "Save as chat JSONL", "conversation.jsonl").splitlines()
    assert [message["content"] for message in json.loads(line)["messages"]] == said


def test_everything_is_deleted_after_a_yes_and_every_tab_starts_afresh(
    context: BrowserContext, server: RunningServer
) -> None:
    page, other = visit(context, server), visit(context, server)
    converse(page, "forget me")
    other.goto(page.url)
    expect(turns(other)).to_have_text(texts("forget me"))
    token = page.evaluate("localStorage.getItem('chatbot.token')")
    page.get_by_role("button", name="Settings").press("Enter")
    settings, question = (page.get_by_role("dialog", name=name) for name in ("Settings", "Delete everything?"))
    settings.get_by_role("button", name="Delete everything").click()
    question.get_by_role("button", name="Keep everything").click()
    settings.get_by_role("button", name="Delete everything").click()
    question.get_by_role("button", name="Delete everything").click()
    settings.get_by_role("button", name="Done").click()
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


def test_of_many_conversations_those_are_listed_that_are_looked_for(context: BrowserContext, tmp_path: Path) -> None:
    stored = open_history(f"sqlite:///{tmp_path}/chat.db")
    user, token = stored.add_user()
    oldest = stored.create_conversation(user, "The very first").id
    for number in range(450):
        stored.create_conversation(user, f"Number {number}")
    stored.engine.dispose()
    server = RunningServer(tmp_path)
    try:
        page = context.new_page()
        page.goto(server.url)
        page.evaluate("token => localStorage.setItem('chatbot.token', token)", token)
        page.reload()
        expect(titles(page)).to_have_count(200)
        page.locator("#conversations").evaluate("list => list.scrollTo(0, list.scrollHeight)")
        expect(titles(page)).to_have_count(400)
        page.goto(f"{server.url}#{oldest}")
        page.reload()
        expect(page.get_by_role("heading", name="The very first")).to_be_visible()
        page.reload()
        page.get_by_label("Search conversations").fill("very first")
        expect(titles(page)).to_have_text(["The very first"])
    finally:
        server.kill()


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


def test_a_search_finds_titles_and_what_was_said(page: Page) -> None:
    converse(page, "apples", "Ein GRÜNER Apfel")
    page.get_by_role("link", name="New conversation").click()
    expect(turns(page)).to_have_count(0)
    converse(page, "pears")
    search = page.get_by_label("Search conversations")
    search.fill("grüner")
    expect(titles(page)).to_have_text(["applesYou said: Ein GRÜNER Apfel"])
    search.fill("PEA")
    expect(titles(page)).to_have_text(["pearsYou said: pears"])
    search.fill("cherries")
    expect(page.get_by_text("Nothing was said with these words.")).to_be_visible()
    search.press("Escape")
    expect(titles(page)).to_have_text(["pears", "apples"])
    expect(search).to_be_focused()


def test_a_new_title_is_given_up_with_escape(page: Page) -> None:
    converse(page, "keep me")
    page.get_by_role("button", name="Rename keep me").click()
    page.get_by_label("New title").fill("not this")
    page.get_by_label("New title").press("Escape")
    page.reload()
    expect(titles(page)).to_have_text(["keep me"])


def test_a_deleted_conversation_can_be_had_back_for_some_seconds(
    context: BrowserContext, server: RunningServer
) -> None:
    page, other = visit(context, server), visit(context, server)
    converse(page, "keep me")
    delete(page, "keep me")
    for tab in (page, other):
        expect(titles(tab)).to_have_count(0)
        expect(tab.get_by_text("Deleted “keep me”")).to_be_visible()
    expect(turns(page)).to_have_count(0)
    other.reload()  # who leaves another tab may still undo it here
    expect(other.get_by_text("Connected", exact=True)).to_be_visible()
    page.get_by_role("button", name="Undo").press("Enter")
    expect(turns(page)).to_have_text(texts("keep me"))
    expect(titles(other)).to_have_text(["keep me"])
    assert stored_conversations(page, server) == 1


def test_a_deleted_conversation_is_erased_a_little_later(context: BrowserContext, server: RunningServer) -> None:
    page = context.new_page()
    page.clock.install()
    page.goto(server.url)
    converse(page, "erase me")
    delete(page, "erase me")
    expect(page.get_by_text("Deleted “erase me”")).to_be_visible()
    page.clock.run_for(6_000)
    assert stored_conversations(page, server) == 1
    page.clock.run_for(3_000)
    expect(page.get_by_text("Deleted “erase me”")).to_have_count(0)
    assert stored_conversations(page, server) == 0


def test_whoever_leaves_after_a_deletion_leaves_nothing_behind(context: BrowserContext, server: RunningServer) -> None:
    page = visit(context, server)
    converse(page, "erase me")
    delete(page, "erase me")
    page.reload()
    expect(page.get_by_text("Your conversations will be listed here.")).to_be_visible()
    assert stored_conversations(page, server) == 0


def test_what_was_deleted_offline_is_erased_after_reconnecting(
    context: BrowserContext, slow_server: RunningServer
) -> None:
    page = context.new_page()
    page.clock.install()
    page.goto(slow_server.url)
    converse(page, "erase me")
    slow_server.kill()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    delete(page, "erase me")
    page.clock.run_for(9_000)
    expect(page.get_by_text("Deleted “erase me”")).to_be_visible()
    slow_server.start()
    expect(page.get_by_text("Deleted “erase me”")).to_have_count(0)
    assert stored_conversations(page, slow_server) == 0


def stored_conversations(page: Page, server: RunningServer) -> int:
    """How many the server has of this person."""
    return len(asked(page, server, "api/conversations").json()["conversations"])


def asked(page: Page, server: RunningServer, path: str) -> APIResponse:
    token = page.evaluate("localStorage.getItem('chatbot.token')")
    return page.request.get(server.url + path, headers={"Authorization": f"Bearer {token}"})


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


def test_what_is_being_written_survives_a_reload(page: Page) -> None:
    box(page).press_sequentially("a draft")
    page.reload()
    expect(box(page)).to_have_value("a draft")
    box(page).press("Enter")
    expect(finished(page)).to_have_count(1)
    page.reload()
    expect(box(page)).to_have_value("")


def test_enter_sends_and_shift_enter_breaks_the_line(page: Page) -> None:
    box(page).press_sequentially("one")
    box(page).press("Shift+Enter")
    box(page).press_sequentially("two")
    box(page).dispatch_event("keydown", {"key": "Enter", "keyCode": 229})  # in Safari, the end of a Japanese word
    expect(box(page)).to_have_value("one\ntwo")
    box(page).press("Enter")
    expect(turns(page).first).to_have_text("one\ntwo", use_inner_text=True)
    expect(box(page)).to_have_value("")
    expect(box(page)).to_be_focused()


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
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("That was more than this server allows at once. It takes more in ")
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


def test_where_a_key_is_needed_the_page_asks_for_it_and_keeps_it(context: BrowserContext, tmp_path: Path) -> None:
    stored = open_history(f"sqlite:///{tmp_path}/chat.db")
    key = Keys(stored).create("page", ("chat",))
    stored.engine.dispose()
    server = RunningServer(tmp_path)
    try:
        page, other = context.new_page(), context.new_page()
        for tab in (page, other):
            tab.goto(server.url)
            expect(tab.get_by_role("heading", name="Robin asks for a key.")).to_be_visible()
        field = page.get_by_role("textbox", name="Key")
        expect(page.get_by_text("Key needed")).to_be_visible()
        page.bring_to_front()
        expect(field).to_be_focused()
        field.fill("wrong")
        field.press("Enter")
        expect(page.get_by_role("alert").filter(has_text="This API key is not known here.")).to_be_visible()
        assert page.evaluate("localStorage.getItem('chatbot.key')") is None
        field.fill(key)
        page.get_by_role("button", name="Continue").click()
        converse(page, "let me in")
        expect(titles(other)).to_have_text(["let me in"])
        page.reload()
        expect(turns(page)).to_have_text(texts("let me in"))
        assert page.evaluate("localStorage.getItem('chatbot.key')") == key
        assert key not in page.url
    finally:
        server.kill()


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


def test_a_reply_that_is_not_the_model_s_own_says_so(page: Page) -> None:
    script = """async (turns) => {
        const { turnView } = await import("/static/turn.js");
        return turns.map((turn) => {
            const { node, update } = turnView({ role: "bot" }, {});
            update({ role: "bot", status: "completed", text: "So do I.", rating: 0, ...turn });
            return node.querySelector(".remark").textContent;
        });
    }"""
    remarks = page.evaluate(script, [{"retrieved": True}, {"retrieved": False}, {}, {"guarded": "human"}])
    assert remarks == ["In the words of someone in another dialogue", "", "", "A fixed answer"]


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
