"""Logs of Rasa and of ChatterBot."""

import json

import pytest

from tests.formats import read, said, utterances


def rasa(event: str, sender: str, time: float, text: str | None = None) -> dict[str, object]:
    return {"sender_id": sender, "event": event, "timestamp": time, "text": text, "metadata": {}}


EVENTS = [
    rasa("session_started", "s1", 1),
    rasa("user", "s1", 2, "Hi"),
    rasa("user", "s2", 2.5, "Good morning"),
    {"sender_id": "s1", "event": "slot", "name": "city", "value": "Rome", "timestamp": 2.6},
    rasa("bot", "s1", 4, "How can I help?"),
    rasa("bot", "s1", 3, "Hello!"),
    rasa("bot", "s1", 4.5),  # an image
    rasa("bot", "s2", 5, "Morning"),
    rasa("user", "s1", 6, "/restart"),
    rasa("user", "s1", 7, "Bye"),
    rasa("bot", "s1", 8, "See you"),
]


RASA_SAID = [
    [("user", "Good morning"), ("assistant", "Morning")],
    [("user", "Hi"), ("assistant", "Hello! How can I help?")],
    [("user", "Bye"), ("assistant", "See you")],
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.jsonl", "\n".join(map(json.dumps, EVENTS))),
        ("x.json", json.dumps(EVENTS)),
        ("x.json", json.dumps(EVENTS, indent=2)),
        ("x", "\n".join(map(json.dumps, EVENTS))),
    ],
)
def test_events_of_rasa_become_the_sessions_of_each_sender(name: str, text: str) -> None:
    assert said(name, text) == RASA_SAID
    assert {one.group for one in read(name, text)} == {"x/s1", "x/s2"}


@pytest.mark.parametrize("indent", [None, 2])
def test_a_tracker_of_rasa_is_read_alone_or_in_a_list(indent: int | None) -> None:
    events = [
        {key: value for key, value in event.items() if key != "sender_id"}
        for event in EVENTS
        if event["sender_id"] == "s1"
    ]
    tracker = {"sender_id": "s1", "slots": {}, "latest_message": {"text": "Bye"}, "events": events}
    assert said("x.json", json.dumps(tracker, indent=indent)) == RASA_SAID[1:]
    assert said("x.json", json.dumps([tracker], indent=indent)) == RASA_SAID[1:]


def test_exports_and_corpora_of_chatterbot_are_read() -> None:
    export = json.dumps({"conversations": [["Hi", "Hello"], ["Hello", "How are you?"], ["Open?", "Yes"], ["alone"]]})
    corpus = "categories:\n- shop\nconversations:\n- - Hi\n  - Hello\n  - Bye\n- - Open?\n  - Yes\n"
    assert utterances("x.json", export) == [("Hi", "Hello"), ("Hello", "How are you?"), ("Open?", "Yes")]
    assert [one.group for one in read("x.json", export)] == ["x/0", "x/0", "x/2"]
    assert said("x.yml", corpus) == [
        [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")],
        [("user", "Open?"), ("assistant", "Yes")],
    ]
