"""Text as chat programs write it: never a name, a date or a notice as an utterance."""

from collections import Counter

import pytest

from data.corpus import DocumentError
from data.formats.reader import DialogueReader
from tests.formats import read, said, utterances
from training.lessons import of_log

FOUND = ("Did you buy the bread?", "Yes, it is warm. I took butter.", "Then come home.")
ANDROID = """12/31/22, 9:15 PM - Messages and calls are end-to-end encrypted. No one outside of this chat can read them.
12/31/22, 9:15 PM - Ann Lee: Did you buy the bread?
12/31/22, 9:16 PM - Ben: Yes, it is warm.
I took butter.
12/31/22, 9:17 PM - Ann Lee: <Media omitted>
12/31/22, 9:18 PM - Ann Lee: Then come home. <This message was edited>
12/31/22, 9:19 PM - Ben: This message was deleted
12/31/22, 9:19 PM - Ann Lee added Carl
"""
IPHONE = """\u200e[31/12/2022, 9:15:26\u202fPM] Ann Lee: \u200eMessages and calls are end-to-end encrypted.
[31/12/2022, 9:15:40\u202fPM] Ann Lee: Did you buy the bread?
[31/12/2022, 9:16:01\u202fPM] Ben: Yes, it is warm.
I took butter.
\u200e[31/12/2022, 9:17:11\u202fPM] Ann Lee: \u200eimage omitted
[31/12/2022, 9:18:11\u202fPM] Ann Lee: Then come home.
"""
GERMAN = """31.12.22, 21:15 - Nachrichten und Anrufe sind Ende-zu-Ende-verschlüsselt.
31.12.22, 21:15 - Ann Lee: Did you buy the bread?
31.12.22, 21:16 - +49 170 1234567: Yes, it is warm.
31.12.22, 21:16 - +49 170 1234567: I took butter.
31.12.22, 21:17 - Ann Lee: <Medien ausgeschlossen>
31.12.22, 21:18 - Ann Lee: Then come home.
"""
WEB = """[9:15 PM, 12/31/2022] Ann Lee: Did you buy the bread?
[9:16 PM, 12/31/2022] Ben: Yes, it is warm.
I took butter.
[9:18 PM, 12/31/2022] Ann Lee: Then come home.
"""
TELEGRAM = """Ann Lee, [31.12.2022 21:15]
Did you buy the bread?

Ben, [31.12.2022 21:16]
Yes, it is warm.
I took butter.

Ann Lee, [31.12.2022 21:17]
[ Photo ]

Ann Lee, [31.12.2022 21:18]
Then come home.
"""
EXPORTER = """==============================================================
Guild: Tea
Channel: general
==============================================================

[01-Jan-21 10:00 AM] ann#1234
Did you buy the bread?

[01-Jan-21 10:00 AM] ben#5678 (pinned)
Yes, it is warm.
I took butter.

{Attachments}
https://cdn.example/a.png

[01-Jan-21 10:01 AM] ann#1234
Then come home.

==============================================================
Exported 3 message(s)
==============================================================
"""
DISCORD = """ann — 01/01/2021 10:00 AM
Did you buy the bread?
ben — Today at 10:01 AM
Yes, it is warm.
I took butter.
ann — Today at 10:02 AM
Then come home.
"""
SLACK = """Ann Lee  10:00 AM
Did you buy the bread?
Ben  10:01 AM
Yes, it is warm.
I took butter.
Ann Lee  10:02 AM
Then come home.
"""
IRC = """--- Log opened Fri Jan 01 10:00:00 2021
[12:00] <ann> Did you buy the bread?
[12:00] * carl has joined #tea
[12:01] <@ben> Yes, it is warm.
[12:01] <@ben> I took butter.
[12:02] -!- carl has quit
[12:02] <ann> Then come home.
"""
BARE_IRC = """<ann> Did you buy the bread?
*** carl has joined #tea
< ben> Yes, it is warm.
< ben> I took butter.
<ann> Then come home.
"""
WEECHAT = """2021-01-01 10:00:00\t-->\tann (a@b) has joined #tea
2021-01-01 10:00:01\tann\tDid you buy the bread?
2021-01-01 10:00:02\t@ben\tYes, it is warm.
2021-01-01 10:00:03\t@ben\tI took butter.
2021-01-01 10:00:04\tann\tThen come home.
"""
WIDGET = """(10:00:00) *** Ann joined the chat ***
(10:00:05) Ann: Did you buy the bread?
(10:00:09) Ben: Yes, it is warm.
(10:00:10) Ben: I took butter.
(10:00:15) Ann: Then come home.
"""
ZOOM = """10:00:00\t From Ann Lee to Everyone: Did you buy the bread?
10:00:05\t From Ben to Everyone : Yes, it is warm.
10:00:06\t From Ben to Everyone : I took butter.
10:00:15\t From Ann Lee to Everyone: Then come home.
"""
BELOW = """[31.12.2022 21:15] Ann Lee:
Did you buy the bread?

[31.12.2022 21:16] Ben:
Yes, it is warm.
I took butter.

[31.12.2022 21:18] Ann Lee:
Then come home.
"""
LOGGED = """2021-01-01T10:00:01Z ann: Did you buy the bread?
2021-01-01T10:00:02Z ben: Yes, it is warm.
2021-01-01T10:00:03Z ben: I took butter.
2021-01-01T10:00:04Z ann: Then come home.
"""


@pytest.mark.parametrize(
    ("text", "notices"),
    [
        (ANDROID, 4),
        (IPHONE, 2),
        (GERMAN, 2),
        (WEB, 0),
        (TELEGRAM, 1),
        (EXPORTER, 4),
        (DISCORD, 0),
        (SLACK, 0),
        (IRC, 3),
        (BARE_IRC, 1),
        (WEECHAT, 1),
        (WIDGET, 1),
        (ZOOM, 0),
        (BELOW, 0),
        (LOGGED, 0),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_chat_program_s_text_gives_speakers_and_order(text: str, notices: int, end: str) -> None:
    reader = DialogueReader()
    (dialogue,) = read("chat.txt", text.replace("\n", end), reader)
    assert dialogue.utterances == FOUND
    assert dialogue.roles is None
    assert reader.dropped.get("chat", Counter()).total() == notices


def test_what_happens_in_a_group_is_a_notice_whatever_it_is_called() -> None:
    group = '12/31/22, 9:10 PM - Ann Lee created group "Tea: the best"\n'
    assert utterances("chat.txt", group + ANDROID) == [FOUND]


def test_a_date_is_no_utterance_of_plain_text() -> None:
    reader = DialogueReader()
    text = "Chat started: 2024-01-01 10:00\nVisitor: Where?\nAgent: There.\nChat ended: 2024-01-01 10:10\n"
    (dialogue,) = read("x.txt", text, reader)
    assert dialogue.utterances == ("Where?", "There.")
    assert reader.dropped["x"] == {"notice or attachment": 2}


def test_a_chat_that_stands_newest_first_is_turned_round() -> None:
    reversed_lines = "".join(reversed([line for line in GERMAN.splitlines(keepends=True) if "\u00fc" not in line]))
    assert utterances("chat.txt", reversed_lines) == [FOUND]


@pytest.mark.parametrize(
    "text",
    [
        "10:00 hello there\n10:01 hello\n10:02 bye\n10:03 good bye\n",
        "Ann Lee\n  10:00 AM\nIs anybody here?\nBen\n  10:01 AM\nI am.\n",
        "[00:12.00]A line of a song\n[00:14.00]Another line\n[00:16.50]And another\n",
    ],
)
def test_lines_with_times_and_no_names_are_refused(text: str) -> None:
    with pytest.raises(DocumentError, match="lines with times and without names"):
        read("chat.txt", text)


def test_a_time_in_plain_text_is_text() -> None:
    assert utterances("x.txt", "When shall we meet?\n10:30 is fine for me.\nAnn: Good.\n") == [
        ("When shall we meet?", "10:30 is fine for me.", "Good.")
    ]


def test_names_that_are_roles_say_who_is_to_be_learned() -> None:
    assert said("x.txt", "Human: Hi\nAI: Hello\n\nCustomer: Where?\nMary: There.\n") == [
        [("user", "Hi"), ("assistant", "Hello")],
        [("user", "Where?"), ("Mary", "There.")],
    ]
    (widget,) = read("x.txt", "(10:00:05) Visitor 123: Where?\n(10:00:09) Agent: There.\n")
    assert of_log(widget).weights == (0, 1)


def test_a_line_without_company_is_counted() -> None:
    reader = DialogueReader()
    assert len(read("x.txt", "Hi\nHello\n\nalone\n", reader)) == 1
    assert reader.dropped["x"] == {"left alone": 1}
