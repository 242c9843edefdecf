"""Public corpora with formats of their own."""

from data.formats.corpora import chitchat
from data.formats.reader import DialogueReader
from tests.formats import read, utterances

CORNELL_LINES = (
    "L3 +++$+++ u1 +++$+++ m0 +++$+++ ANN +++$+++ Nobody knows.\n"
    "L2 +++$+++ u0 +++$+++ m0 +++$+++ BEN +++$+++ Where is the key?\n"
    "L1 +++$+++ u1 +++$+++ m0 +++$+++ ANN +++$+++ The door is shut.\n"
    "a broken line\n"
)


CORNELL_CONVERSATIONS = "u0 +++$+++ u1 +++$+++ m0 +++$+++ ['L1', 'L2', 'L3', 'L9']\n"


def test_cornell_is_put_together_from_its_two_files_in_either_order() -> None:
    halves = [("movie_lines.txt", CORNELL_LINES), ("movie_conversations.txt", CORNELL_CONVERSATIONS)]
    for order in (halves, halves[::-1]):
        reader = DialogueReader()
        found = [dialogue for name, text in order for dialogue in read(name, text, reader)]
        assert [(one.group, one.utterances) for one in found] == [
            ("cornell/m0", ("The door is shut.", "Where is the key?", "Nobody knows."))
        ]
        assert not reader.left_over()


def test_half_of_cornell_is_left_over() -> None:
    reader = DialogueReader()
    assert read("movie_lines.txt", CORNELL_LINES, reader) == []
    assert reader.left_over() == [("movie_lines.txt", "useless without movie_conversations.txt beside it")]


def test_chitchat_holds_the_chats_of_its_package() -> None:
    dialogues = list(chitchat())
    assert len(dialogues) == 7168
    assert sum(len(one.utterances) > 2 for one in dialogues) > 3400
    assert len({one.group for one in dialogues}) == 7168


def test_a_written_line_end_in_parlai_is_a_line_end_in_what_is_asked_and_in_what_is_answered() -> None:
    text = (
        r"text:your persona: i like tea.\nHello there.\nHow are you?"
        "\t"
        r"labels:I am fine.\nAnd you?"
        "\tepisode_done:False\n"
        "text:Fine.\teval_labels:Good.|Well.\tepisode_done:True\n"
    )
    found = ("Hello there. How are you?", "I am fine. And you?", "Fine.", "Good.")
    assert utterances("x.txt", text) == [found]
    numbered = "1 your persona: i like tea.\n2 " + "\t".join(found[:2]).replace(". ", r".\n") + "\n3 Fine.\tGood.\n"
    assert utterances("x.txt", numbered) == [found]


def test_lines_that_are_none_of_a_corpus_are_counted() -> None:
    reader = DialogueReader()
    assert len(read("d.txt", "Hi . __eou__ Hello . __eou__\nlost\n", reader)) == 1
    assert len(read("p.txt", "text:Hi\tlabels:Hello\tepisode_done:True\nlost\n", reader)) == 1
    assert len(read("n.txt", "1 Hi\tHello\n2 Bye\tGo\nlost\n", reader)) == 1
    assert reader.dropped == {name: {"unreadable line": 1} for name in "dpn"}
    assert reader.first_bad == {"d.txt": 2, "p.txt": 2, "n.txt": 3}
