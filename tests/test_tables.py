"""Tables: what their columns are for, and which of them hold text."""

import pytest

from data.corpus import DocumentError
from data.formats.reader import DialogueReader
from tests.formats import read, said, utterances

TABLE = """session_id,created_at,sender,message
b,2024-05-01T10:00:01Z,Bot,"Good morning, how can I help?"
a,2024-05-01T09:00:00Z,Customer,Hi
b,2024-05-01T10:00:00Z,Customer,Hello
a,2024-05-01T09:00:05Z,bot,Hello Sir
b,2024-05-01T10:00:02Z,customer,"Are you
open?"
"""
TEA = 'conversation_id\trole\ttext\n1\tuser\tWhich tea?\n1\tassistant\t"Green, if ""steeped""."\n'
ASKED = [("user", "Which tea?"), ("assistant", 'Green, if "steeped".')]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.tsv", "x.tab"])
def test_named_columns_are_found_whatever_the_file_is_called(name: str, encoding: str) -> None:
    assert said(name, TEA.encode(encoding)) == [ASKED]
    assert said(name, TEA.replace("\n", "\r\n").encode(encoding)) == [ASKED]


def test_names_of_columns_are_found_in_any_spelling() -> None:
    assert said("x.csv", "ConversationID,Sender Type,Message Text\n1,user,Hi\n1,agent,Hello\n") == [
        [("user", "Hi"), ("assistant", "Hello")]
    ]
    people = "Timestamp\tSender\tMessage\n2024-01-01 10:00\tann\tIs anybody here?\n2024-01-01 10:01\tben\tI am.\n"
    assert [(one.utterances, one.roles) for one in read("x.txt", people)] == [(("Is anybody here?", "I am."), None)]


@pytest.mark.parametrize(
    "text",
    [
        "id\tuser\tbot\n1\tWhere is it?\tIt left the shop.\n2\tDo you open?\tYes we do.\n",
        "id\tquestion\tanswer\n1\tWhere is it?\tIt left the shop.\n2\tDo you open?\tYes we do.\n",
        "1\tWhere is it?\tIt left the shop.\n2\tDo you open?\tYes we do.\n",
        "Q1\tWhere is it?\t0.5\tIt left the shop.\nQ2\tDo you open?\t1\tYes we do.\n",
        "2024-01-01\tWhere is it?\tIt left the shop.\n2024-01-02\tDo you open?\tYes we do.\n",
        "Where is it?\tIt left the shop.\t7\nDo you open?\tYes we do.\t8\n",
    ],
)
@pytest.mark.parametrize("name", ["x.tsv", "x.txt"])
def test_ids_numbers_and_dates_are_no_questions(name: str, text: str) -> None:
    assert utterances(name, text) == [("Where is it?", "It left the shop."), ("Do you open?", "Yes we do.")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tOne?\tTwo?\t1\n", "unknown columns"),
        ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\tHi you\tHello you\n", "unknown columns"),
        ("number\tname\tnote\n1\tHi there\tHello\n2\tBye now\tGo then\n", "unknown columns"),
        ("1\tHello there.\n2\tGood bye.\n", "without a column of questions"),
        ("2\t4\n3\t9\n", "without a column of questions"),
    ],
)
def test_a_table_of_other_things_is_refused(text: str, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        read("x.tsv", text)


def test_names_of_people_are_no_dialogue() -> None:
    with pytest.raises(DocumentError, match="of no known format"):
        read("x.csv", "ticket_id,customer,agent,date\n1,Ann,Bob,2024\n2,Carl,Bob,2024\n")


def test_answers_that_are_marked_as_wrong_are_counted_and_left_out() -> None:
    reader = DialogueReader()
    text = (
        "QuestionID\tQuestion\tSentence\tLabel\nQ1\tHow is it made?\tOf milk.\t1\nQ1\tHow is it made?\tIt is old.\t0\n"
    )
    assert [one.utterances for one in read("x.tsv", text, reader)] == [("How is it made?", "Of milk.")]
    assert reader.dropped["x"] == {"answer marked as wrong": 1}


def test_a_short_line_between_tabs_is_counted_and_named() -> None:
    reader = DialogueReader()
    assert len(read("x.tsv", "Hi there\tHello\nlost\nBye now\tGo then\n", reader)) == 2
    assert reader.dropped["x"] == {"unreadable line": 1}
    (line,) = reader.unread_lines()
    assert line.startswith("line 2 of x.tsv")
    assert line.endswith("expected a question, a tab and its answer")


def test_an_exchange_a_row_is_put_together_by_session() -> None:
    text = (
        "session_id,timestamp,user_message,bot_response\n1,2024-01-01 10:05,Bye,See you\n1,2024-01-01 10:00,Hi,Hello\n"
    )
    assert said("x.csv", text) == [[("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "See you")]]


@pytest.mark.parametrize(
    "text",
    [
        "ticket_id,direction,body\n1,inbound,Open?\n1,outbound,Yes.\n",
        "ticket_id,inbound,body\n1,True,Open?\n1,False,Yes.\n",
        "ticket_id,is_bot,body\n1,0,Open?\n1,1,Yes.\n",
        "ticket_id,from_customer,author,body\n1,yes,Ann,Open?\n1,no,Ben,Yes.\n",
    ],
)
def test_a_column_may_say_which_way_a_message_went(text: str) -> None:
    assert said("x.csv", text) == [[("user", "Open?"), ("assistant", "Yes.")]]


TWEETS = """tweet_id,author_id,inbound,created_at,text,response_tweet_id,in_response_to_tweet_id
1,shop,False,Tue Oct 31 22:10:47 +0000 2017,@115712 How can I help?,"2,4",3
3,115712,True,Tue Oct 31 22:08:27 +0000 2017,@shop My order never came.,1,
2,115712,True,Tue Oct 31 22:11:45 +0000 2017,@shop Please find out.,5,1
4,115712,True,Tue Oct 31 22:12:45 +0000 2017,@shop And soon.,,1
6,99,True,Tue Oct 31 22:13:45 +0000 2017,@shop Mine neither.,,1
5,shop,False,Tue Oct 31 22:14:45 +0000 2017,@115712 We will.,,2.0
9,77,True,Tue Oct 31 22:14:45 +0000 2017,@shop Is it open?,10,8
10,shop,False,Tue Oct 31 22:15:45 +0000 2017,@77 Yes.,,9
"""


def test_tweets_are_threaded_by_what_they_answer() -> None:
    assert said("x.csv", TWEETS) == [
        [
            ("user", "My order never came."),
            ("assistant", "How can I help?"),
            ("user", "Please find out. And soon."),
            ("assistant", "We will."),
        ],
        [("assistant", "How can I help?"), ("user", "Mine neither.")],
        [("user", "Is it open?"), ("assistant", "Yes.")],
    ]


def test_threads_are_held_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{id},{id - 1 if id % 2 == 0 else ''},{name},What a long text.\n" for id, name in enumerate("abab" * 9, 1)]
    monkeypatch.setattr("data.formats.order.MAX_HELD_BYTES", 1_000)
    assert sum(map(len, utterances("x.csv", "id,parent_id,author,text\n" + "".join(rows)))) == 36


def test_a_message_that_answers_itself_is_not_lost() -> None:
    assert utterances("x.csv", "id,reply_to,author,text\n1,1,ann,Hi\n2,1,ben,Hello\n") == [("Hi", "Hello")]


def test_pairs_that_follow_each_other_share_a_group() -> None:
    groups = [one.group for one in read("q.tsv", "a\tb\nb\tc\nx\ty\n")]
    assert groups[0] == groups[1] != groups[2]


def test_a_table_of_messages_is_put_together_by_conversation_and_time() -> None:
    found = {one.id: said for one, said in zip(read("x.csv", TABLE), said("x.csv", TABLE), strict=True)}
    assert found == {
        "x/a": [("user", "Hi"), ("assistant", "Hello Sir")],
        "x/b": [("user", "Hello"), ("assistant", "Good morning, how can I help?"), ("user", "Are you\nopen?")],
    }


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_table_may_be_delimited_otherwise(delimiter: str) -> None:
    text = "Dialogue ID,Speaker,Text\n1,agent,Good day\n1,visitor,Hi\n".replace(",", delimiter)
    name = "x.tsv" if delimiter == "\t" else "x.csv"
    assert said(name, text) == [[("assistant", "Good day"), ("user", "Hi")]]


def test_a_table_without_roles_times_or_speakers_is_read_as_it_stands() -> None:
    people = "chat_id,author,text,date\n1,Ann,Hi,on Monday\n1,Ann,you,on Sunday\n1,Ben,Bye,2024-01-01\n"
    assert [(one.utterances, one.roles) for one in read("x.csv", people)] == [(("Hi. you", "Bye"), None)]
    assert utterances("x.csv", "thread,body\n1,Hi\n1,Hello\n2,Bye\n2,Go\n") == [("Hi", "Hello"), ("Bye", "Go")]
    assert utterances("x.csv", "speaker,text\nAnn,Hi\nBen,Hello\n") == [("Hi", "Hello")]


def test_instructions_to_an_assistant_are_no_talk_but_a_bot_may_be_called_system() -> None:
    with_prompt = "session_id,role,content\n1,system,Be kind.\n1,user,Hi\n1,assistant,Hello\n"
    assert said("x.csv", with_prompt) == [[("user", "Hi"), ("assistant", "Hello")]]
    without = "session_id,speaker,text\n1,SYSTEM,Hello\n1,USER,Hi\n"
    assert said("x.csv", without) == [[("assistant", "Hello"), ("user", "Hi")]]


def test_a_table_of_questions_and_answers_needs_its_headings() -> None:
    assert utterances("x.csv", 'id,Answer,Question\n1,"Yes, we are.",Open?\n') == [("Open?", "Yes, we are.")]
    with pytest.raises(DocumentError, match="no known format"):
        read("x.csv", "Open?,Yes\nWhen?,Now\n")


def test_a_quotation_mark_left_open_costs_some_rows_and_not_the_file() -> None:
    reader = DialogueReader()
    text = 'session_id,text\n1,Hi\n1,Hello\n2,"open' + "\n3,word" * 40_000 + "\n4,Bye\n4,Go\n5\n"
    assert read("x.csv", text, reader)[-1].utterances == ("Bye", "Go")
    assert reader.dropped["x"]["unreadable line"] > 1
    assert reader.first_bad["x.csv"] > 4


def test_a_scattered_log_is_held_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.formats.order.MAX_HELD_BYTES", 500)
    rows = [f"{id},{text}\n" for text in ("What a long question.", "And a long answer.") for id in (1, 2)]
    assert {len(one) for one in utterances("x.csv", "session_id,text\n" + "".join(rows))} == {1}
    monkeypatch.setattr("data.formats.order.MAX_HELD_BYTES", 5_000)
    assert {len(one) for one in utterances("x.csv", "session_id,text\n" + "".join(rows))} == {2}


def test_the_line_by_which_excel_knows_the_delimiter_is_no_heading() -> None:
    assert said("x.csv", "sep=;\nconversation_id;role;text\n1;user;Hi\n1;bot;Hello\n") == [
        [("user", "Hi"), ("assistant", "Hello")]
    ]
