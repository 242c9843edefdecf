from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.corpus import Document, DocumentError
from data.formats.cues import Cue, read_cues
from data.formats.reader import DialogueReader, film_of
from data.subtitles import join_sentences, read_pairs, read_speeches

SAMPLES = Path(__file__).parent / "samples"


def srt(*texts: str) -> str:
    """A cue every two seconds, which lasts 1.9."""
    stamps = [f"00:{place // 30:02}:{place % 30 * 2:02}" for place in range(len(texts))]
    return "\n\n".join(
        f"{stamp},000 --> {stamp[:-1]}{int(stamp[-1]) + 1},900\n{text}"
        for stamp, text in zip(stamps, texts, strict=True)
    )


def speeches(*texts: str) -> list[str]:
    cues = read_cues(srt(*texts), "srt", Counter())
    return [speech.text for speech in join_sentences(read_speeches(cues, Counter()), max_gap=1.0)]


def dropped(*texts: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    in_lower_case = "I told you that this film is not all in capitals."
    list(read_speeches(read_cues(srt(*texts, in_lower_case), "srt", counts), counts))
    return counts


def spoken(text: str, form: str = "srt") -> list[str]:
    """What is said in a file, an utterance each."""
    speeches = join_sentences(read_speeches(read_cues(text, form, Counter()), Counter()), max_gap=1.0)
    return [speech.text for speech in speeches]


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
    pairs = list(read_pairs(read_cues(text, "srt", Counter()), 1.0, Counter()))
    assert pairs == [("Where do I go?", "Go home, I said.")]


def test_missing_and_overlapping_and_disordered_times_are_borne() -> None:
    text = (
        "1\n00:00:05,000 --> 00:00:09,000\nSecond.\n\n"
        "2\n00:00:01,000 --> 00:00:06,000\nFirst.\n\n"
        "3\n00:00:09,500 -->\nThird.\n\n"
        "4\n-->\nFourth.\n"
    )
    counts: Counter[str] = Counter()
    assert [cue.text for cue in read_cues(text, "srt", counts)] == ["First.", "Second.", "Third."]
    assert counts == {"unreadable time": 1}
    assert len(list(read_pairs(read_cues(text, "srt", Counter()), 1.0, Counter()))) == 2


def test_opus_sentences_are_read_raw_and_split_into_words() -> None:
    raw = (
        '<document id="1"><s id="1"><time id="T1S" value="00:00:01,000"/>Are you hungry?'
        '<time id="T1E" value="00:00:02,000"/></s><s id="2"><time id="T2S" value="00:00:02,500"/>Not yet.</s>'
        '<s id="3">Later.<time id="T2E" value="00:00:04,000"/></s>'
        '<s id="4"><time id="T3S" value="00:00:30,000"/>Now.<time id="T3E" value="00:00:31,000"/></s></document>'
    )
    words = "<d><s><w>Do</w><w>n't</w><w>go</w><w>.</w></s><s><w>Why</w><w>?</w></s></d>"
    assert list(read_pairs(read_cues(raw, "xml", Counter()), 1.0, Counter())) == [
        ("Are you hungry?", "Not yet."),
        ("Not yet.", "Later."),
    ]
    assert list(read_pairs(read_cues(words, "xml", Counter()), 1.0, Counter())) == [("Don't go.", "Why?")]


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
            list(read_pairs(read_cues(content, form, Counter()), 1.0, Counter()))


@given(st.lists(CUE_TEXT, min_size=1, max_size=8))
def test_whatever_is_read_from_cues_is_clean_speech(texts: list[str]) -> None:
    for text in speeches(*texts):
        assert text == " ".join(text.split())
        assert any(map(str.isalnum, text))
        assert "♪" not in text
        assert "\n" not in text


def timed(*times: str) -> str:
    """Up to four utterances with time lines as they may stand in a file."""
    cues = enumerate(zip(times, TALK, strict=False), 1)
    return "\n\n".join(f"{number}\n{line}\n{text}" for number, (line, text) in cues)


TALK = ("Where are my keys?", "On the table, where else?", "Thank you so much.", "Any time, my dear.")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("00:00:01,000-->00:00:03,000", "00:00:03.200 -> 00:00:05.000"),
        ("0:0:1,2 --> 0:0:3", "00:00:03:200 --> 00:00:05:000"),
        ("00:00:01，000 —> 00:00:03，000", "００:００:０３,２００ --> ００:００:０５,０００"),
        ("00：00：01。200 －－＞ 00：00：03。000", "00:00:03,200 → 00:00:05,000"),
        ("00 : 00 : 01 , 000 --> 00 : 00 : 03 , 000", "00: 00: 03,200 - -> 00: 00: 05,000"),
        ("00:00:01,200 = > 00:00:03,000", "00:00:03,200 ==> 00:00:05,000"),
        ("-00:00:02,000 --> -00:00:01,000", "-00:00:00,900 --> 00:00:01,000"),
        ("00:01.200 --> 00:03.000 align:start position:0%", "00:00:03,200 --> 00:00:05,000 X1:100 X2:600"),
        ("99:59:58,000 --> 99:59:59,000", "100:00:00,000 --> 100:00:01,000"),
        ("00:00:01,000 --&gt; 00:00:03,000", "00:00:03,200 00:00:05,000"),
        ("00:00:01,200,00:00:03,000", "00:00:03,200 - 00:00:05,000"),
        ("\u200e00:00:01,000 --> 00:00:03,000", "٠٠:٠٠:٠٣,٢٠٠ --> ٠٠:٠٠:٠٥,٠٠٠"),
        ("00:00:01;200 --> 00:00:03;000", "00:00:03,200 -->"),
    ],
)
def test_an_odd_time_line_is_understood(first: str, second: str) -> None:
    dropped: Counter[str] = Counter()
    assert list(read_pairs(read_cues(timed(first, second), "srt", dropped), 1.0, dropped)) == [TALK[:2]]
    assert dropped == {}


@pytest.mark.parametrize(
    "broken",
    [
        "00:00:13,980 --> 00:00:19werwer,580",
        "00::00:00.000 --> 00:00:01.000",
        "-->",
        "00:00:1x,000 --> 00:00:03,000",
        "OO:OO:O1,OOO --> 00:00:03,000",
        "0:01 --> 0:03",
        "00:00:01,000 --> ab:cd",
        "00:00:01,000 to 00:00:03,000",
        "00:00:01,000",
    ],
)
@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_a_time_that_cannot_be_read_loses_its_cue_and_is_counted(broken: str, form: str) -> None:
    good = ("00:00:03,200 --> 00:00:05,000", "00:00:05,200 --> 00:00:07,000", "00:00:07,200 --> 00:00:09,000")
    for place in range(4):
        times = [*good[:place], broken, *good[place:]]
        dropped: Counter[str] = Counter()
        cues = read_cues(timed(*times), form, dropped)
        assert [cue.text for cue in cues] == [text for number, text in enumerate(TALK) if number != place]
        assert dropped == {"unreadable time": 1}


@pytest.mark.parametrize(
    "text",
    [
        'It says "exit -->" in red.',
        "That one --> is cancelled.",
        "The log says 10:00:00,000 to 11:00:00,000 tomorrow.",
        "We meet at 10:30 --> not at 11.",
        "Then came the answer:\n42",
        "From A -> B, and then we walk.",
    ],
)
def test_arrows_times_and_numbers_that_are_spoken_are_speech(text: str) -> None:
    cues = read_cues(srt("What does it say?", text, "I see."), "srt", Counter())
    assert [cue.text for cue in cues] == ["What does it say?", text, "I see."]
    numbered = read_cues(timed(*("00:00:01,000 --> 00:00:02,000",) * 4).replace(TALK[1], text), "srt", Counter())
    assert [cue.text for cue in numbered] == [TALK[0], text, *TALK[2:]]


def test_cues_need_neither_numbers_nor_words_nor_blank_lines_between_them() -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\n2\n00:00:03,000 --> 00:00:04,000\nHi.\n3\n00:00:05,000 --> 00:00:06,000\n42"
    )
    assert [cue.text for cue in read_cues(text, "srt", Counter())] == ["", "Hi.", "42"]
    whisper = "[00:00.000 --> 00:01.500]  Are you there?\n[00:01.600 --> 00:03.000]  I am.\n"
    assert spoken(whisper) == ["Are you there?", "I am."]
    assert spoken("00:00:01,000 --> 00:00:02,000 Who?\n\n00:00:02,000 --> 00:00:03,000 Me.") == ["Who?", "Me."]


ROLLED = ("This is the first line.", "Do you see another line here?", "Yes, I can see it now.", "Then we are happy.")


def test_rolling_captions_give_each_line_once() -> None:
    tagged = [line.replace(" ", "<00:00:01.000><c> ", 1) + "</c>" for line in ROLLED]
    youtube, second = ["WEBVTT\nKind: captions"], 0
    for before, line, plain in zip((" ", *ROLLED), tagged, ROLLED, strict=False):
        stamps = [f"00:00:0{second + part}.{thousandths}" for part, thousandths in ((0, "010"), (2, "000"), (2, "010"))]
        youtube.append(f"{stamps[0]} --> {stamps[1]} align:start position:0%\n{before}\n{line}")
        youtube.append(f"{stamps[1]} --> {stamps[2]} align:start position:0%\n{plain}\n ")
        second += 2
    assert spoken("\n\n".join(youtube), "vtt") == list(ROLLED)
    for shown in (2, 3):  # lines at once
        screens = ["\n".join(ROLLED[max(0, last - shown) : last]) for last in range(1, len(ROLLED) + 1)]
        assert spoken(srt(*screens)) == list(ROLLED)


def test_captions_that_grow_word_by_word_give_each_word_once() -> None:
    words = ["Do", "you", "see", "the", "lamp?", "Yes,", "I", "do."]
    grown = [" ".join(words[:count]) for count in range(1, len(words) + 1)]
    assert " ".join(spoken(srt(*grown))) == "Do you see the lamp? Yes, I do."


def test_what_is_said_twice_in_a_film_stays() -> None:
    texts = (
        "Run!",
        "Run!\nThey are coming.",
        "Who is?",
        "The others.",
        "How many?",
        "All of them.",
        "Oh.",
        "Go on.",
        "No.",
    )
    assert spoken(srt(*texts))[:2] == ["Run!", "Run! They are coming."]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("&gt;&gt; JOHN: Good evening to you all.", ["Good evening to you all."]),
        ("&amp;gt;&amp;gt; Is that so?", ["Is that so?"]),
        ("&gt;&gt;&gt; Tonight, the rain goes on.", ["Tonight, the rain goes on."]),
        ("Is it over? >> It is.", ["Is it over?", "It is."]),
        ("Do you think that 3 &lt; 5 is true?", ["Do you think that 3 < 5 is true?"]),
        ("It&#39;s a &quot;wet&quot; week &amp; a cold one.", ['It\'s a "wet" week & a cold one.']),
        ("I did not expect that, you&nbsp;know it.", ["I did not expect that, you know it."]),
        ("<c.yellow>&lt;i&gt;Hello&lt;/i&gt; there.</c>", ["Hello there."]),
        (r"{\an7}{\p1}m 0 0 l 100 0 100 100 0 100{\p0}", []),
        (r"{\pos(10,20)\p1}m 0 0 l 100 0{\c&H0000FF&} 100 100", []),
        (r"{\p2}m 0 0 b 1 2 3 4 5 6{\p0}Hello there.", ["Hello there."]),
        ("m 0 0 l 100.5 0 100 -100 0 100", []),
        (r"{\fad(100,200)\i1}Hello{\i0}\Nthere.", ["Hello there."]),
        (r"Hello there.{\r", ["Hello there."]),
    ],
)
def test_entities_are_letters_and_drawings_are_none(raw: str, said: list[str]) -> None:
    assert spoken(srt(raw, "We will see about that later.")) == [*said, "We will see about that later."]


@pytest.mark.parametrize(
    "text",
    [
        "WEBVTT\n\n00:01.000 --> 00:03.000\nhello and welcome\n\n00:03.000 --> 00:05.000\nto my kitchen\n",
        srt("Is anybody here?"),
        "1\n00:00:01,000 --> 00:00:02,000\nIs it late?\n\n2\n00:00:31,000 --> 00:00:32,000\nIt is.\n",
    ],
)
def test_a_file_without_pairs_is_refused(text: str) -> None:
    cues = read_cues(text, "vtt" if text.startswith("WEBVTT") else "srt", Counter())
    with pytest.raises(DocumentError, match="holds no utterance that answers another"):
        list(read_pairs(cues, 1.0, Counter()))
