"""The report on the conversations that were written for this program."""

import pytest

from benchmarks import written as report
from data.formats.dialogue import Dialogue


def conversation(*turns: str, id: str = "written/x/1", split: str = "train") -> report.Conversation:
    roles = ("user", "assistant") * (len(turns) // 2)
    return report.Conversation(Dialogue(id, "written", id, turns, roles, split=split))


def figures(rows: report.Rows) -> dict[str, str]:
    return dict(rows)


DOG = (
    "My dog Biscuit ate my left shoe today.",
    "Oh no! Which one?",
    "The red one.",
    "Is it gone?",
    "Yes.",
    "Bad Biscuit!",
)


def test_the_chatbot_brings_a_fact_back():
    assert report.coming_back(conversation(*DOG), {"my", "the", "one"}) == {"biscuit"}


def test_what_the_chatbot_said_itself_or_just_heard_is_no_fact_that_comes_back():
    assert not report.coming_back(conversation("Hi", "Biscuit?", "No", "Ah", "Hm", "Biscuit!"), set())
    assert not report.coming_back(conversation("No", "Ah", "Hm", "Oh", "Biscuit", "Biscuit!"), set())
    told_again = conversation("Biscuit", "Ah", "Hm", "Oh", "Biscuit", "Biscuit!")
    assert not report.coming_back(told_again, set())


def test_near_duplicates_are_paired_and_others_are_not():
    changed = (*DOG[:4], "No.", "Good Biscuit!")
    other = ("I went to the sea with both of my sisters.", "How was the water?", "It was cold.", "Did you swim in it?")
    conversations = [conversation(*DOG), conversation(*other), conversation(*changed, split="validation")]
    assert report.near_duplicates(conversations) == [(0, 2)]
    rows = figures(report.duplicates(conversations))
    assert rows["conversations that another repeats word for word"] == "0"
    assert rows["pairs of such conversations in different splits"] == "1"


def test_lengths_and_questions_of_the_chatbot_are_counted():
    turns = ("Hi", "Hello there.", "Hm", "Is it? Why?", "Yes", "It is late. Are you tired?", "No", "Hello there!")
    rows = figures(report.replies([conversation(*turns)]))
    assert rows["turns"] == "4"
    assert rows["a single sentence of at most 10 words"] == "50.0%"
    assert rows["a question"] == "50.0%"
    assert rows["two questions or more"] == "25.0%"
    assert rows["said in another place as well"] == "50.0%"


def test_a_theme_is_known_by_its_words_and_their_plurals():
    rows = figures(report.themes([conversation("My puppies and dogs", "Ah"), conversation("Qwerty", "Ah")]))
    assert rows["dogs"] == "1 (50.0%)"
    assert rows["none of these"] == "1 (50.0%)"


def test_no_word_of_the_test_split_is_printed(monkeypatch, capsys):
    public = Dialogue("written/x/1", "written", "written/x/1", DOG, ("user", "assistant") * 3, split="train")
    hidden = ("zanzibar " * 8, "Zanzibar?")
    secret = [
        Dialogue(f"written/x/{place}", "written", f"written/x/{place}", hidden, ("user", "assistant"), split="test")
        for place in (2, 3)
    ]
    monkeypatch.setattr(report, "written", lambda: iter([public, *secret]))
    report.main()
    printed = capsys.readouterr().out
    assert "2 conversations, 4 turns, 18 words" in printed
    assert "zanzibar" not in printed.lower()


def test_missing_conversations_are_one_sentence(monkeypatch):
    monkeypatch.setattr(report, "written", lambda: iter(()))
    with pytest.raises(SystemExit, match="no conversations in data"):
        report.main()


def test_the_report_of_the_conversations_that_are_there(capsys):
    report.main()
    printed = capsys.readouterr().out
    assert "conversations that another repeats word for word         0\n" in printed
