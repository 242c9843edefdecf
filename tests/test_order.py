"""In which order the messages of a log were said."""

import pytest

from data.formats.order import seconds
from tests.formats import said, utterances

ASKED = [("user", "A"), ("assistant", "B"), ("user", "C"), ("assistant", "D")]


def table(*times: str, conversation: int = 7, header: bool = True) -> str:
    """A log of four messages, D C B A, with these times."""
    rows = zip(("agent", "customer") * 2, "DCBA"[-len(times) :], times, strict=False)
    head = "conversation_id,created_at,sender,message\n" if header else ""
    return head + "".join(f'{conversation},"{time}",{speaker},{text}\n' for speaker, text, time in rows)


@pytest.mark.parametrize(
    "times",
    [
        ("1/2/2024 10:10 AM", "1/2/2024 10:06 AM", "1/2/2024 10:05 AM", "1/2/2024 10:00 AM"),
        ("1/2/2024 1:10 PM", "1/2/2024 12:59 PM", "1/2/2024 11:59 AM", "1/2/2024 9:00 AM"),
        ("31/01/2024 10:10", "31/01/2024 10:06", "31/01/2024 10:05", "31/01/2024 10:00"),
        ("31.01.2024, 10:10", "31.01.2024, 10:06", "31.01.2024, 10:05", "31.01.2024, 10:00"),
        ("02/01/2024", "02/01/2024", "01/01/2024", "01/01/2024"),
        ("03.02.2024 08:00", "03.02.2024 08:00", "02.02.2024 09:00", "28.01.2024 09:00"),
        ("2024-02-01 10:10", "2024-02-01 10:10", "2024-02-01 10:10", "2024-02-01 10:09"),
        ("Jan 2, 2024 10:10 AM", "Jan 2, 2024 10:06 AM", "Jan 2, 2024 10:05 AM", "Jan 1, 2024 11:00 PM"),
        ("Tue, 02 Jan 2024 10:10:00 +0000", "Tue, 02 Jan 2024 10:06:00 +0000", "Tue, 02 Jan 2024 10:05:00 +0000",
         "Mon, 01 Jan 2024 10:00:00 +0000"),
        ("2. Dezember 2023 10:10", "2. Dezember 2023 10:06", "2. Dezember 2023 10:05", "2. Dezember 2023 10:00"),
        ("2/1/2024 10.10", "2/1/2024 10.06", "2/1/2024 10.05", "2/1/2024 10.00"),
        ("10:10", "10:06", "10:05", "10:00"),
        ("4", "3", "2", "1"),
        ("5 minutes ago", "10 minutes ago", "1 hour ago", "2 days ago"),
        ("Tue Jan 02 10:10:00 +0000 2024", "Tue Jan 02 10:06:00 +0000 2024", "Tue Jan 02 10:06:00 +0000 2024",
         "Mon Jan 01 12:00:00 +0000 2024"),
        ("1704190200", "1704190140", "1704190080", "1704190020"),
    ],
)  # fmt: skip
def test_a_log_that_stands_newest_first_is_turned_round(times: tuple[str, ...]) -> None:
    assert said("x.csv", table(*times)) == [ASKED]


def test_minutes_that_are_equal_follow_the_whole_log() -> None:
    others = table(*["1/3/2024 9:05"] * 4, conversation=8, header=False)
    within = table("1/2/2024 10:06", "1/2/2024 10:06", "1/2/2024 10:05", "1/2/2024 10:05")
    assert said("x.csv", within + others) == [ASKED, ASKED]
    across = table(*["1/3/2024 9:05"] * 4) + table(*["1/2/2024 9:05"] * 4, conversation=8, header=False)
    assert said("x.csv", across) == [ASKED, ASKED]


def test_a_date_of_two_kinds_is_what_leaves_the_log_in_order() -> None:
    days = "".join(f"1,{day}/{month}/2024,ann,{month}-{day}\n" for month in (1, 2, 3) for day in (1, 5, 9))
    (found,) = utterances("x.csv", f"session,date,author,text\n{days}")
    assert found[0].split(". ") == [f"{month}-{day}" for month in (1, 2, 3) for day in (1, 5, 9)]


def test_what_stands_oldest_first_stays_so() -> None:
    text = "session,time,role,text\n1,10:00,user,A\n1,10:00,bot,B\n1,10:05,user,C\n1,10:05,bot,D\n"
    assert said("x.csv", text) == [ASKED]


def test_a_date_and_a_time_in_two_columns_are_one() -> None:
    text = "session,date,time,role,text\n1,2/1/2024,09:00,user,C\n1,1/1/2024,23:00,user,A\n1,1/1/2024,23:59,bot,B\n"
    assert said("x.csv", text) == [ASKED[:3]]


@pytest.mark.parametrize("time", ["on Monday", "10:00", "", "3-5", "soon", "31/31/2024 10:00", "May", "nan"])
def test_nothing_is_sorted_by_a_guess(time: str) -> None:
    assert seconds(time) is None


def test_a_year_that_stands_first_is_followed_by_its_month() -> None:
    assert seconds("2024/01/02 10:00", day_first=True) == seconds("2024-01-02T10:00:00Z")
