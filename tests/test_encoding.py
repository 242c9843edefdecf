import contextlib
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from data.commands import prepare
from data.corpus import Document, DocumentError
from data.encoding import UnknownEncodingError, encoding_of
from data.formats.dialogue import Dialogue
from data.formats.reader import DialogueReader
from data.preparation import clean

POLISH = "Dzień dobry, gdzie jest moja paczka? Wysłaliśmy ją wczoraj rano, powinna dotrzeć jutro. Czy mogę zadzwonić?"
CZECH = "Dobrý den, kde je moje zásilka? Odeslali jsme ji včera ráno, zítra by měla dorazit. Děkuji, není zač."
HUNGARIAN = (
    "Jó napot, hol van a csomagom? Tegnap adtuk fel, holnap érkezik meg. A futár délelőtt hív, a fűtésről is szól."
)
CROATIAN = "Dobar dan, gdje je moja pošiljka? Poslali smo je jučer, stići će sutra. Hvala, želim vam ugodan dan."
TURKISH = "Sarı kitabın nerede olduğunu söyler misin? Kapının yanındaki rafta duruyor, yeşil şişenin arkasında."
RUSSIAN = (
    "Добрый день, где моя посылка? Мы отправили её вчера утром, она должна прийти завтра. Большое спасибо за помощь."
)
GREEK = "Καλημέρα, πού είναι το δέμα μου; Το στείλαμε χθες το πρωί, θα φτάσει αύριο. Ευχαριστώ πολύ για τη βοήθεια."
GERMAN = "Guten Tag, wo ist mein Paket? Wir haben es gestern früh verschickt, es müsste morgen ankommen. Schönen Dank."
FRENCH = "Bonjour, où est mon colis ? Nous l’avons expédié hier, il devrait déjà être là. Ça va, merci, à bientôt."
SPANISH = "Buenos días, ¿dónde está mi paquete? Lo enviamos ayer, señor, llegará mañana. ¡Muchas gracias!"
SWEDISH = (
    "God dag, var är mitt paket? Vi skickade det i går, det borde komma fram i morgon. Tack så mycket för hjälpen."
)
ENGLISH = "What’s the price of the tea in this café? It’s £3 – and that’s cheap. “Really?” Yes, that is what they said."


def as_table(text: str) -> str:
    rows = (f"{place // 2};{('user', 'assistant')[place % 2]};{one}." for place, one in enumerate(text.split(". ")))
    return "conversation_id;role;text\r\n" + "\r\n".join(rows) + "\r\n"


@pytest.mark.parametrize(
    ("text", "encodings"),
    [
        (POLISH, ["cp1250", "iso8859-2"]),
        (CZECH, ["cp1250", "iso8859-2"]),
        (HUNGARIAN, ["cp1250", "iso8859-2"]),
        (CROATIAN, ["cp1250", "iso8859-2"]),
        (TURKISH, ["cp1254", "iso8859-9"]),
        (RUSSIAN, ["cp1251", "koi8-r", "iso8859-5"]),
        (GREEK, ["cp1253", "iso8859-7"]),
        (GERMAN, ["cp1252", "iso8859-1"]),
        (FRENCH, ["cp1252"]),
        (SPANISH, ["cp1252", "iso8859-1"]),
        (SWEDISH, ["cp1252", "iso8859-1"]),
        (ENGLISH, ["cp1252", "mac_roman"]),
    ],
)
def test_each_language_is_read_right_in_the_encodings_it_is_written_in(text: str, encodings: list[str]) -> None:
    everywhere = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
    for encoding in encodings + everywhere:
        for written in (text, as_table(text), as_table(text) * 20):
            content = written.encode(encoding)
            assert content.decode(encoding_of(content)) == written.removeprefix("\ufeff"), encoding


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Džem, čaj", "cp1250"),  # a few letters only, which are others in other code pages
        (POLISH, "cp852"),
        (ENGLISH.replace("’", "'").replace("–", "-").replace("“", '"').replace("”", '"'), "cp437"),
        ("新しい荷物はどこですか。昨日の朝に送りました。", "shift_jis"),
    ],
)
def test_what_cannot_be_told_for_certain_is_refused_and_never_misread(text: str, encoding: str) -> None:
    with pytest.raises(UnknownEncodingError, match="of unknown encoding"):
        encoding_of(text.encode(encoding))


def test_a_foreign_name_makes_english_no_other_language() -> None:
    for text in ("My name is Zoë.", "It costs £5.", "José and Ñoño went there with the façade of a naïve smörgåsbord."):
        assert text.encode("cp1252").decode(encoding_of(text.encode("cp1252"))) == text


@given(st.binary(max_size=600))
def test_any_bytes_have_an_encoding_or_none(content: bytes) -> None:
    with contextlib.suppress(UnknownEncodingError):
        content.decode(encoding_of(content), "replace")


def chat_lines(count: int) -> list[bytes]:
    lines = []
    for place in range(count):
        pair = (f"What’s the price of tea number {place}?", f"It’s {place} pounds, and that’s cheap.")
        messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), pair, strict=True)]
        lines.append(json.dumps({"messages": messages}, ensure_ascii=False).encode())
    return lines


def read(name: str, content: bytes, reader: DialogueReader) -> list[Dialogue]:
    return [one for one in reader.read(Document(name, io.BytesIO(content))) if isinstance(one, Dialogue)]


@pytest.mark.parametrize("bad", ["’".encode("cp1252"), b"\xff", b"\xe2\x80", b"\xc3"])
@pytest.mark.parametrize("place", [0, 5, 399])
def test_a_bad_byte_loses_one_utterance_and_its_line_is_named(bad: bytes, place: int) -> None:
    lines = chat_lines(400)
    lines[place] = lines[place].replace("’".encode(), bad, 1)
    reader, dropped = DialogueReader(), Counter[str]()
    dialogues = read("log.jsonl", b"\n".join(lines), reader)
    assert len(dialogues) == 400
    assert sum(len(run) for one in dialogues for run in clean(one, dropped)) == 798
    assert dropped == {"garbled": 1, "left alone": 1}
    assert reader.first_bad == {"log.jsonl": place + 1}


def test_the_first_bytes_beyond_ascii_may_stand_anywhere() -> None:
    plain = b'{"messages": [{"content": "Is it open?"}, {"content": "Yes, it is."}]}\n' * 2000
    line = '{"messages": [{"content": "What’s that?"}, {"content": "It’s the café that you know."}]}'
    for encoding in ("cp1252", "utf-8"):
        reader = DialogueReader()
        dialogues = read("log.jsonl", plain + line.encode(encoding), reader)
        assert dialogues[-1].utterances == ("What’s that?", "It’s the café that you know.")
        assert reader.first_bad == {}


def test_a_damaged_line_of_a_text_read_whole_is_numbered_too() -> None:
    document = Document("a.json", io.BytesIO("[“one”,\n“two”,\n“thr".encode() + b"\x92" + "ee”]".encode()))
    assert document.text().count("\ufffd") == 1
    assert document.first_damaged == 3


def test_a_file_of_unknown_encoding_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "polish.csv").write_bytes(as_table(POLISH).encode("cp852"))
    (tmp_path / "english.jsonl").write_bytes(b"\n".join([*chat_lines(6), b'{"messages": [{"content": "caf\xe9"}]}']))
    result = CliRunner().invoke(prepare, [str(tmp_path), "--out", str(tmp_path / "out"), "--no-clean"])
    assert result.exit_code == 0, result.output
    assert f"Skipped {tmp_path}/polish.csv: of unknown encoding (save it as UTF-8)." in result.output
    assert f"Line 7 of {tmp_path}/english.jsonl, and perhaps others, could not be read." in result.output


def test_an_unknown_encoding_is_a_fault_of_the_document() -> None:
    with pytest.raises(DocumentError, match="of unknown encoding"):
        Document("a.txt", io.BytesIO("Wysłaliśmy ją wczoraj.".encode("cp852")))
