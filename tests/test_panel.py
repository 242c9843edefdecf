"""The look inside, beside the chat: the path of the dialogue's state, why a reply was chosen, other decodings of it."""

import json
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, WebSocketRoute, expect

from tests.browsing import box, converse, make_long, turns, visit
from tests.running_server import RunningServer
from tests.test_page_everywhere import PHONE, check_with_axe, payloads

Answers = dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]]


def leaf(word: str, probability: float, *children: dict[str, Any]) -> dict[str, Any]:
    return {"word": word, "probability": probability, "children": list(children)}


# The likeliest first word is not the beginning of the likeliest sequence.
FIRST = leaf("a", 0.5, leaf("b", 0.4), leaf("c", 0.4, leaf("b", 0.4, leaf("", 0.6))))
TREE = leaf("", 1, FIRST, leaf("c", 0.3, leaf("b", 0.5), leaf("a", 0.6, leaf("", 0.3))))
COMPARED = {"variants": [{"name": "beam", "text": "C a"}, {"name": "before", "text": "Ca va."}], "tree": TREE}


class Inside:
    """What is told of the inside instead of what the server tells."""

    def __init__(self) -> None:
        self.answers: Answers = {}

    def stand_between(self, line: WebSocketRoute) -> None:
        server = line.connect_to_server()
        line.on_message(lambda frame: None if self._answer(line, frame) else server.send(frame))

    def _answer(self, line: WebSocketRoute, frame: str | bytes) -> bool:
        asked = re.fullmatch(r"42(\d+)(\[.*\])", frame if isinstance(frame, str) else "", re.DOTALL)
        name, payload = json.loads(asked[2]) if asked else ("", {})
        if not asked or name not in self.answers:
            return False
        answer = self.answers[name](payload)
        if answer is not None:
            line.send(f"43{asked[1]}{json.dumps([{'ok': True} | answer])}")
        return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("server"), delay=0)
    yield running
    running.kill()


@pytest.fixture
def inside() -> Inside:
    return Inside()


@pytest.fixture
def page(context: BrowserContext, server: RunningServer, inside: Inside) -> Page:
    context.route_web_socket(re.compile("socket.io"), inside.stand_between)
    return visit(context, server)


def panel(page: Page) -> Locator:
    return page.get_by_role("complementary", name="A look inside")


def look(page: Page) -> None:
    page.get_by_role("button", name="A look inside", exact=True).click()
    expect(panel(page)).to_be_visible()


def spots(page: Page) -> Locator:
    return panel(page).locator(".spot")


def shown(page: Page, *said: str) -> None:
    """Says it and opens the panel."""
    converse(page, *said)
    look(page)
    expect(spots(page)).to_have_count(2 * len(said))


def decode_again(page: Page) -> None:
    panel(page).get_by_role("button", name="Decode again").click()
    expect(panel(page).locator(".tree")).to_be_visible()


def test_the_path_goes_through_every_turn_and_tells_what_was_said_there(page: Page) -> None:
    shown(page, "hello", "again")
    expect(panel(page).locator(".spot.user rect")).to_have_count(2)
    expect(panel(page).locator(".spot.bot circle:not(.halo)")).to_have_count(2)
    expect(panel(page).locator(".leg")).to_have_count(3)
    expect(panel(page).locator(".step")).to_have_count(4)
    expect(panel(page).locator(".told")).to_have_text("Robin You said: again moved the state by 1.00")
    spots(page).first.hover()
    expect(panel(page).locator(".told")).to_have_text("You hello where it begins")
    expect(page.locator(".turn.marked")).to_have_text(re.compile("hello"))
    panel(page).get_by_role("heading", name="A look inside").hover()
    expect(page.locator(".turn.marked")).to_have_count(0)
    turns(page).nth(1).hover()
    expect(spots(page).nth(1)).to_have_class("spot bot current")


def test_the_path_grows_with_the_conversation(page: Page) -> None:
    shown(page, "hello")
    converse(page, "again")
    expect(spots(page)).to_have_count(4)
    page.get_by_role("link", name="New conversation").click()
    expect(panel(page)).to_contain_text("Say something, and the path begins.")
    expect(panel(page).get_by_role("heading", name="Why this reply")).to_be_hidden()


def test_the_path_is_walked_by_keys_and_goes_to_the_turn(page: Page) -> None:
    shown(page, *(f"line {number}\n" + "and\n" * 8 for number in range(6)))
    expect(turns(page).first).not_to_be_in_viewport()
    spots(page).last.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    expect(spots(page).nth(1)).to_be_focused()
    expect(spots(page).nth(1)).to_have_accessible_name(re.compile("Robin: You said: line 0.*moved the state by 1.00"))
    page.keyboard.press("Enter")
    expect(turns(page).nth(1)).to_be_in_viewport()
    expect(page.locator(".turn.marked")).to_have_count(1)
    expect(panel(page).locator("blockquote")).to_contain_text("You said: line 0")
    page.keyboard.press("Home")
    expect(spots(page).first).to_be_focused()


def test_of_a_long_conversation_the_last_200_turns_are_shown(page: Page, server: RunningServer) -> None:
    conversation = make_long(page, server, 300)
    with sqlite3.connect(server.database.removeprefix("sqlite:///")) as database:
        states = "UPDATE turns SET state = ?, checkpoint = 'echo' WHERE conversation_id = ?"
        database.execute(states, (struct.pack("<f", 7), conversation))
    database.close()
    page.goto(f"{server.url}#{conversation}")
    expect(turns(page).last).to_have_text("turn 299")
    look(page)
    expect(spots(page)).to_have_count(200)
    expect(panel(page)).to_contain_text("The last 200 turns")
    expect(panel(page).locator(".leg")).to_have_count(23)
    spots(page).first.focus()
    expect(panel(page).locator(".told")).to_have_text("You turn 100 moved the state by 0.00")
    page.keyboard.press("Enter")
    expect(turns(page).filter(has_text=re.compile("^turn 100$"))).to_be_in_viewport()


@pytest.mark.parametrize(("map", "sentence"), [(None, "no map yet"), ({"density": [[1]]}, "of another checkpoint")])
def test_where_there_is_no_path_it_is_said_why(page: Page, inside: Inside, map: Any, sentence: str) -> None:
    inside.answers["conversation.path"] = lambda _: {"points": [], "map": map}
    converse(page, "hello")
    look(page)
    expect(panel(page)).to_contain_text(sentence)
    expect(panel(page).locator("svg.map")).to_have_count(0)


def test_why_a_reply_was_chosen_is_told_beside_it(page: Page, inside: Inside) -> None:
    converse(page, "hello", "how are you?")
    page.get_by_role("button", name="Why this reply?").first.click()
    expect(panel(page).get_by_role("heading", name="Why this reply")).to_be_focused()
    expect(panel(page).locator("blockquote")).to_have_text("You said: hello")
    rows = panel(page).get_by_role("row")
    expect(rows.nth(0)).to_have_text("Scorelog p(y|s)log p(y)RelevanceRepeats")
    expect(rows.nth(1)).to_have_text("You said: hello Said")
    expect(rows.nth(2)).to_have_text("0.00−2.0−3.00.500.00")
    expect(rows.nth(3)).to_have_text("Hm. Someone’s words")
    expect(rows.nth(4)).to_have_text("−1.00−2.0−3.00.500.00")
    expect(rows).to_have_count(5)
    expect(panel(page).get_by_role("term")).to_have_count(5)
    converse(page, "and now?")
    expect(panel(page).locator("blockquote")).to_have_text("You said: and now?")
    inside.answers["reply.explain"] = lambda _: {"candidates": [], "moved": None}
    page.get_by_role("button", name="Why this reply?").nth(1).click()
    expect(panel(page)).to_contain_text("not chosen among several")


def test_a_turn_is_decoded_in_other_ways_when_asked(page: Page, inside: Inside) -> None:
    shown(page, "hello")
    decode_again(page)
    expect(panel(page).locator(".ways dd")).to_have_text(["You said: hello"] * 4)
    expect(panel(page).locator(".word")).to_have_text(["You", "said"])
    expect(panel(page).locator(".edge")).to_have_text(["0.50", "0.25"])
    converse(page, "and now?")
    expect(panel(page).locator(".ways")).to_have_count(0)
    inside.answers["reply.compare"] = lambda _: None  # it takes its time
    page.clock.install()
    panel(page).get_by_role("button", name="Decode again").click()
    expect(panel(page).get_by_role("status")).to_have_text("Decoding…")
    page.clock.fast_forward(15_000)
    expect(panel(page).get_by_role("status")).to_have_text("Decoding…")
    inside.answers.clear()
    page.evaluate("window.dispatchEvent(new Event('offline'))")  # the socket client drops its connection at this event
    expect(panel(page).locator(".ways dd")).to_have_text(["You said: and now?"] * 4)
    expect(panel(page).get_by_role("status")).to_have_text("")


def test_of_the_beam_the_way_to_what_it_said_is_stressed(page: Page, inside: Inside) -> None:
    inside.answers["reply.compare"] = lambda _: COMPARED
    shown(page, "hello")
    decode_again(page)
    expect(panel(page).locator(".word")).to_have_text(["c", "a", "b", "a", "b", "c", "b"])
    expect(panel(page).locator(".best > .cell > .word")).to_have_text(["c", "a"])
    expect(panel(page).locator(".best > .cell > .edge")).to_have_text(["0.30", "0.60", "0.30"])
    expect(panel(page).get_by_role("img", name="end")).to_have_count(2)
    expect(panel(page).locator(".ways div").last).to_have_text("By the checkpoint beforeCa va.")


def test_what_the_server_refuses_is_said_in_the_panel_which_asks_again_when_opened_again(
    page: Page, inside: Inside
) -> None:
    refusal = {"ok": False, "error": {"code": "internal", "message": "no"}}
    inside.answers |= {"reply.explain": lambda _: refusal, "conversation.path": lambda _: refusal}
    converse(page, "hello")
    look(page)
    expect(panel(page).get_by_text("Something went wrong on the server.")).to_have_count(2)
    inside.answers.clear()
    page.keyboard.press("Escape")
    look(page)
    expect(spots(page)).to_have_count(2)
    expect(panel(page).get_by_role("row")).to_have_count(5)


def test_the_panel_opens_and_closes_by_keys_and_gives_the_focus_back(page: Page) -> None:
    converse(page, "hello")
    box(page).focus()
    page.keyboard.press("Control+I")
    expect(panel(page).get_by_role("heading", name="A look inside")).to_be_focused()
    page.keyboard.press("Escape")
    expect(panel(page)).to_be_hidden()
    expect(box(page)).to_be_focused()
    why = page.get_by_role("button", name="Why this reply?")
    why.press("Enter")
    panel(page).get_by_role("button", name="Close the look inside").press("Enter")
    expect(why).to_be_focused()
    page.keyboard.press("Control+/")
    expect(page.get_by_role("dialog", name="Settings").get_by_text("A look inside")).to_be_visible()


def test_a_screen_of_any_size_has_room_for_it(browser: Browser, server: RunningServer) -> None:
    context = browser.new_context(**PHONE | {"viewport": {"width": 320, "height": 640}})
    page = visit(context, server)
    shown(page, "hello", "again")
    decode_again(page)
    for width, height in ((320, 640), (844, 640), (1100, 640), (740, 360), (932, 430)):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert panel(page).evaluate("panel => panel.scrollWidth - panel.clientWidth") == 0
        expect(box(page)).to_be_in_viewport(ratio=1)
        expect(turns(page).last).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 360, "height": 400})
    box(page).focus()  # which brings up the keyboard, and leaves so much
    expect(panel(page)).to_be_hidden()
    expect(turns(page).last).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 360, "height": 740})
    expect(panel(page)).to_be_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation_in_it(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    shown(page, "hello")
    decode_again(page)
    check_with_axe(page)


def test_text_in_the_panel_is_only_ever_text(page: Page, inside: Inside) -> None:
    complaints = list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    attempts = payloads()[:60]
    candidates = [{"text": attempt, "score": attempt, "retrieved": True} for attempt in attempts]
    ways = [{"name": attempt, "text": attempt} for attempt in attempts]
    tree = leaf("", 1, *(leaf(attempt, 0.1) for attempt in attempts))
    inside.answers["reply.explain"] = lambda _: {"candidates": candidates, "moved": 1}
    inside.answers["reply.compare"] = lambda _: {"variants": ways, "tree": tree}
    shown(page, *attempts[:3])
    for place in range(6):
        spots(page).nth(place).focus()
    expect(panel(page).locator(".told q")).to_have_text(f"You said: {attempts[2]}")
    panel(page).get_by_role("button", name="All 60 candidates").click()
    expect(panel(page).locator("tbody bdi")).to_have_text(attempts)
    decode_again(page)
    expect(panel(page).locator(".word")).to_have_text(attempts)
    expect(panel(page).locator(".ways dd")).to_have_text(attempts)
    assert panel(page).locator(":is(script, img, iframe, object, style, form, base)").count() == 0
    assert page.evaluate("window.hacked") is None
    assert complaints == []
