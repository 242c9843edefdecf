from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.corpus import Document, DocumentError
from data.formats.reader import DialogueReader, film_of
from data.subtitles import Cue, join_sentences, read_cues, read_pairs, read_speeches

SAMPLES = Path(__file__).parent / "samples"


def speeches(*texts: str) -> list[str]:
    cues = [Cue(2.0 * place, 2.0 * place + 1.9, text) for place, text in enumerate(texts)]
    return [speech.text for speech in join_sentences(read_speeches(cues, Counter()), max_gap=1.0)]


def dropped(*texts: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    list(read_speeches([Cue(0.0, 1.0, text) for text in texts], counts))
    return counts


def pairs_of(file: Path, max_gap: float = 1.0) -> list[tuple[str, ...]]:
    with file.open("rb") as stream:
        (film,) = DialogueReader(max_gap).read(Document(str(file), stream))
        return [dialogue.utterances for dialogue in film.dialogues(Counter())]


def test_a_film_becomes_the_pairs_a_reader_would_take_from_it() -> None:
    pairs = pairs_of(SAMPLES / "lighthouse.srt")
    assert pairs[0] == ("The light went out just before midnight.", "Who told you that?")
    assert ("Who told you that?", "The old keeper, the one with the wooden leg.") in pairs
    assert ("Do you trust him?", "More than I trust you.") in pairs
    assert ("We should leave now.", "In this weather?") in pairs
    assert ("He thought he could cross the bay alone.", "And did he?") in pairs
    assert ("Hand me the lamp, please.", "I'm holding it already.") in pairs
    assert not any("Subtitles" in text or "Row" in text or "thunder" in text for pair in pairs for text in pair)


def test_a_pause_longer_than_the_gap_ends_an_exchange() -> None:
    film = SAMPLES / "lighthouse.srt"
    assert ("More than I trust you.", "We should leave now.") not in pairs_of(film)
    assert ("More than I trust you.", "We should leave now.") in pairs_of(film, max_gap=10.0)


@pytest.mark.parametrize(
    ("file", "pair"),
    [
        ("cafe.srt", ("That'll be four pounds.", "Isn't that a lot for a coffee?")),  # cp1252
        ("garage.srt", ("Can you fix it by Friday?", "Which Friday?")),  # UTF-16
        ("night_train.vtt", ("Tickets, please.", "I had it a moment ago.")),  # WebVTT, UTF-8 with a mark
    ],
)
def test_every_encoding_reads_the_same(file: str, pair: tuple[str, str]) -> None:
    assert pair in pairs_of(SAMPLES / file)


@pytest.mark.parametrize(
    ("raw", "spoken"),
    [
        ("<i>Hello</i> <font color='#ff0000'>there</font>.", ["Hello there."]),
        (r"{\an8}Hello.", ["Hello."]),
        ("[door slams] Hello.", ["Hello."]),
        ("Hello (whispers) you.", ["Hello you."]),
        ("[door\nslams]\nHello.", ["Hello."]),
        ("JOHN: Hello.", ["Hello."]),
        ("Old Man: Hello.", ["Hello."]),
        ("It is 5:30 already.", ["It is 5:30 already."]),
        ("- Hello.\n- Who is it?", ["Hello.", "Who is it?"]),
        ("-Hello.\n-Who is it?", ["Hello.", "Who is it?"]),
        ("Hello. - Who is it?", ["Hello.", "Who is it?"]),
        (">> Hello.\n>> Who is it?", ["Hello.", "Who is it?"]),
        ("JOHN: Hello.\nMARY: Who is it?", ["Hello.", "Who is it?"]),
        ("-5 degrees today.", ["-5 degrees today."]),
        ("l'm sure lt is fine.", ["I'm sure It is fine."]),
        ("I Iook aII right in Italy and Iowa.", ["I look all right in Italy and Iowa."]),
        ("Don’t say “never”…", ['Don\'t say "never"...']),
        ("Hello.\u00a0\n \nYou.", ["Hello. You."]),
    ],
)
def test_only_what_is_said_is_left_of_a_cue(raw: str, spoken: list[str]) -> None:
    assert speeches(raw) == spoken


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("♪ Happy days are here ♪", "lyrics"),
        ("# Happy days are here #", "lyrics"),
        ("*Happy days are here*", "lyrics"),
        ("Subtitles by SomeGroup", "advertising"),
        ("Synced & corrected by somebody", "advertising"),
        ("www.example.com", "advertising"),
        ("Downloaded from somewhere", "advertising"),
        ("[thunder]", "sound or caption"),
        ("(MUSIC PLAYS)", "sound or caption"),
        ("LOS ANGELES, 1956", "text on screen"),
        ("- - -", "no words"),
    ],
)
def test_a_cue_without_speech_is_dropped_with_its_reason(raw: str, reason: str) -> None:
    assert dropped(raw) == {reason: 1}


@pytest.mark.parametrize(
    ("cues", "spoken"),
    [
        (("I wanted to", "see you."), ["I wanted to see you."]),
        (("I wanted to...", "...see you."), ["I wanted to see you."]),
        (("I wanted to--", "--see you."), ["I wanted to see you."]),
        (("I wanted to,", "Robin, see you."), ["I wanted to, Robin, see you."]),
        (("I wanted...", "What did you want?"), ["I wanted...", "What did you want?"]),
        (("I wanted to", "- Stop."), ["I wanted to", "Stop."]),
        (("I did.", "he did not."), ["I did.", "he did not."]),
    ],
)
def test_a_sentence_over_several_cues_is_one(cues: tuple[str, ...], spoken: list[str]) -> None:
    assert speeches(*cues) == spoken


def test_a_sentence_is_not_joined_over_a_long_pause() -> None:
    cues = [Cue(0.0, 1.0, "I wanted to"), Cue(9.0, 10.0, "see you.")]
    assert len(list(join_sentences(read_speeches(cues, Counter()), max_gap=1.0))) == 2


def test_a_film_all_in_capitals_is_written_in_sentences() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nWHERE DO I GO?\n\n2\n00:00:02,100 --> 00:00:03,000\nGO HOME, I SAID.\n"
    pairs = list(read_pairs(read_cues(text, "srt"), 1.0, Counter()))
    assert pairs == [("Where do I go?", "Go home, I said.")]


def test_missing_and_overlapping_and_disordered_times_are_borne() -> None:
    text = (
        "1\n00:00:05,000 --> 00:00:09,000\nSecond.\n\n"
        "2\n00:00:01,000 --> 00:00:06,000\nFirst.\n\n"
        "3\n00:00:09,500 -->\nThird.\n\n"
        "4\n-->\nFourth.\n"
    )
    assert [cue.text for cue in read_cues(text, "srt")] == ["First.", "Second.", "Third.", "Fourth."]
    assert len(list(read_pairs(read_cues(text, "srt"), 1.0, Counter()))) == 3


def test_opus_sentences_are_read_raw_and_split_into_words() -> None:
    raw = (
        '<document id="1"><s id="1"><time id="T1S" value="00:00:01,000"/>Are you hungry?'
        '<time id="T1E" value="00:00:02,000"/></s><s id="2"><time id="T2S" value="00:00:02,500"/>Not yet.</s>'
        '<s id="3">Later.<time id="T2E" value="00:00:04,000"/></s>'
        '<s id="4"><time id="T3S" value="00:00:30,000"/>Now.<time id="T3E" value="00:00:31,000"/></s></document>'
    )
    words = "<d><s><w>Do</w><w>n't</w><w>go</w><w>.</w></s><s><w>Why</w><w>?</w></s></d>"
    assert list(read_pairs(read_cues(raw, "xml"), 1.0, Counter())) == [
        ("Are you hungry?", "Not yet."),
        ("Not yet.", "Later."),
    ]
    assert list(read_pairs(read_cues(words, "xml"), 1.0, Counter())) == [("Don't go.", "Why?")]


def test_a_film_in_another_language_is_refused() -> None:
    cues = [Cue(place, place + 0.9, "Je ne sais pas ce que vous voulez dire, mon ami.") for place in range(20)]
    with pytest.raises(DocumentError, match="not in English"):
        list(read_pairs(cues, 1.0, Counter()))


def test_the_show_is_the_group_of_an_episode_and_the_film_its_own() -> None:
    assert film_of("tv/merlin/4x13.srt") == "merlin"
    assert film_of("tv/seinfeld/Seinfeld.S07E23.srt") == "seinfeld"
    assert film_of("film/Casablanca.srt") == "Casablanca"


CUE_TEXT = st.text(alphabet=st.sampled_from("aIl-.'\"[](){}<>♪#: \nABé…\\N0"), max_size=40)


@given(st.text(), st.sampled_from(["srt", "vtt", "xml", "lines"]))
def test_no_text_whatsoever_crashes_the_parser(text: str, form: str) -> None:
    stamped = f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n\n2\n00:00:02.000 --> 00:00:03.000\n{text}"
    for content in (text, stamped, f"<document><s>{text}</s>"):
        with suppress(DocumentError):
            list(read_pairs(read_cues(content, form), 1.0, Counter()))


@given(st.lists(CUE_TEXT, max_size=8))
def test_whatever_is_read_from_cues_is_clean_speech(texts: list[str]) -> None:
    for text in speeches(*texts):
        assert text == " ".join(text.split())
        assert any(map(str.isalnum, text))
        assert "♪" not in text
        assert "\n" not in text
