import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.cleaning import MAX_TOKENS, fault, in_sentence_case, is_blank, normalise, plain


@pytest.mark.parametrize(
    ("raw", "mended"),
    [
        ("It’s  “fine”…", 'It\'s "fine"...'),
        ("Tom &amp; Jerry &quot;run&quot;", 'Tom & Jerry "run"'),
        ("a <u>ho</u>tel<br>room", "a hotel room"),
        ("a public break- up", "a public break-up"),
        ("first- and second-born", "first- and second-born"),
        ("I do n't know , really .", "I don't know, really."),
        ("don ’ t", "don't"),
        ("im sure you dont, i cant", "I'm sure you don't, I can't"),
        ("l'll go", "I'll go"),
        ("so good!!!!!!!!", "so good!!!"),
        ("nooooooo", "nooo"),
        ("Wait.What", "Wait. What"),
        ("yes,no", "yes, no"),
        ("e.g. at 10:30 for 3.50, in the U.S.A. now", "e.g. at 10:30 for 3.50, in the U.S.A. now"),
        ("GET OUT OF HERE. NOW", "Get out of here. Now"),
        ("OK", "OK"),
        ("rock 'n' roll", "rock 'n' roll"),
    ],
)
def test_slips_of_typing_and_scanning_are_mended(raw: str, mended: str) -> None:
    assert normalise(raw) == mended


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("...", "no words"),
        ("{}", "no words"),
        ("see www.example.org for it", "address or link"),
        ("write to me@example.org", "address or link"),
        ("Hi, I'm [User 1's name].", "placeholder"),
        ("Hi, I'm (name).", "placeholder"),
        ("(User 2) I like it.", "placeholder"),
        ("I will tell PERSON1 about it", "placeholder"),
        ("caf\ufffd au lait", "garbled"),
        ("Ã© quoi", "garbled"),
        ("Hi {{ticket.requester.first_name}}, thank you.", "placeholder"),
        ('Hi {{ name | default: "you" }}, thank you.', "placeholder"),
        ("Hi {Customer Name}, thank you.", "placeholder"),
        ("Hi ${name}, thank you.", "placeholder"),
        ("Hi %first_name%, thank you.", "placeholder"),
        ("Hi <%= name %>, thank you.", "placeholder"),
        ("Hi {!Contact.FirstName}, thank you.", "placeholder"),
        ("Hi *|FNAME|*, thank you.", "placeholder"),
        ("It is 50% off and 20% more, they say.", None),
        ('=HYPERLINK("http://x.example","click")', "formula"),
        ("=A1+B2", "formula"),
        ("+SUM(A1:A9)", "formula"),
        ("#REF!", "formula"),
        ("=) Yes, it is.", None),
        ("я не знаю", "not English"),
        ("je ne sais pas ce que vous voulez dire mon ami", "not English"),
        ("Half an emoji \ud83d here.", "garbled"),
        ("Yes.", None),
        ("She is a nice person.", None),
        ("No way, José!", None),
        ("It's a French sci-fi film directed by Jean-Luc Godard.", None),
    ],
)
def test_an_unfit_utterance_is_told_by_its_reason(text: str, reason: str | None) -> None:
    assert fault(text, tokens=9) == reason


def test_a_speech_is_too_long() -> None:
    assert fault("Yes.", MAX_TOKENS) is None
    assert fault("Yes.", MAX_TOKENS + 1) == "too long"


def test_sentence_case_keeps_the_word_i() -> None:
    assert in_sentence_case("WHO AM I? I AM BOB") == "Who am I? I am bob"


@given(st.text())
def test_any_text_can_be_normalised_and_judged(text: str) -> None:
    mended = normalise(text)
    assert mended == " ".join(mended.split())
    fault(mended, 1)


@given(st.lists(st.sampled_from(["I", "am", "not", "here", "Wait", "home"]), min_size=1, max_size=12))
def test_plain_english_is_left_as_it_is(words: list[str]) -> None:
    assert normalise(" ".join(words) + ".") == " ".join(words) + "."


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("<think>\nThey ask about tea.\n</think>\n\nWe sell tea.", "We sell tea."),
        ("They ask about tea.\n</think>\n\nWe sell tea.", "We sell tea."),
        ("<think>They ask about tea, so I should", ""),
        ("We sell tea. <thinking>Is that so?</thinking>", "We sell tea."),
        ("&lt;think&gt;Tea?&lt;/think&gt;We sell tea.", "We sell tea."),
        ("[THINK]Tea?[/THINK]We sell tea.", "We sell tea."),
        ("◁think▷Tea?◁/think▷We sell tea.", "We sell tea."),
        ('<tool_call>{"name": "stock"}</tool_call>We sell tea.', "We sell tea."),
        ("<|im_start|>user\nDo you sell tea?<|im_end|>", "Do you sell tea?"),
        ("We sell tea.<|im_end|>\n<|im_start|>user\nThank you.<|im_end|>", "We sell tea."),
        ("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello there.", "Hello there."),
        ("<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nDo you sell tea? [/INST]", "Do you sell tea?"),
        ("We sell tea.</s>", "We sell tea."),
        ("<|start_header_id|>assistant<|end_header_id|>\n\nWe sell tea.<|eot_id|>", "We sell tea."),
        ("<start_of_turn>model\nWe sell tea.<end_of_turn>", "We sell tea."),
        ("<|channel|>analysis<|message|>Tea?<|end|><|start|>assistant<|channel|>final<|message|>Yes.", "Yes."),
        ("<｜Assistant｜>We sell tea.<｜end▁of▁sentence｜>", "We sell tea."),
        ("### Response:\nWe sell tea.", "We sell tea."),
    ],
)
def test_reasoning_and_the_tokens_of_a_template_are_not_said(raw: str, said: str) -> None:
    assert normalise(raw) == plain(raw) == said


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('<div>We sell <b>green</b> &amp; black tea.</div><img src="x.png"><style>p{color:red}</style>', None),
        ("<style>p { color: red }</style><p>We sell green</p><p>& black tea.</p>", None),
        ("<script>if (a < b) { go(); }</script>We sell green & black tea.<!-- yes -->", None),
        ("We sell green & black tea.\n\nOn Mon, Jan 1, 2024 at 10:00 AM Ann <a@b.example> wrote:\n> Tea?", None),
        ("We sell green & black tea.<br>On Mon, 1 Jan 2024, Ann wrote:<br>&gt; Which tea?<br>&gt; Tell me.", None),
        ("We sell green & black tea. On Jan 1, 2024, at 10:00, Ann <a@b.example> wrote: > Tea?", None),
        ("We sell green & black tea.\n\nAm 01.01.2024 um 10:00 schrieb Ann <a@b.example>:\n> Tee?", None),
        ("We sell green & black tea.\n\n-----Original Message-----\nFrom: Ann\nWhich tea?", None),
        ("We sell green & black tea.\n\nFrom: Ann\nSent: Monday\nTo: Shop\nSubject: Tea\n\nWhich?", None),
        ("> Which tea do you sell?\nWe sell green & black tea.", None),
        ("<blockquote>Which <blockquote>tea?</blockquote> Tell me.</blockquote>We sell green & black tea.", None),
        ("We sell green & black tea.\n-- \nBest regards,\nThe Tea Shop", None),
        ("We sell green & black tea.\n\nSent from my iPhone", None),
        ("We sell green & black tea. Sent from my Galaxy", None),
        ("##- Please type your reply above this line -##\nWe sell green & black tea.", None),
        ("On Monday at ten he wrote: I love you.", "On Monday at ten he wrote: I love you."),
        ("I sent it from my phone - and you?", "I sent it from my phone - and you?"),
        (">:(\nI am angry.", ">:( I am angry."),
        ("2 > 1, and I <3 you.", "2 > 1, and I <3 you."),
    ],
)
def test_what_a_mail_or_a_page_carries_besides_is_not_said(raw: str, said: str | None) -> None:
    assert normalise(raw) == (said or "We sell green & black tea.")


def test_text_that_cannot_be_seen_is_blank() -> None:
    for text in ("", " \n", "\u200b\u200d", "\ufeff", "\u3164", "\u2800", "\u00ad\ufe0f", "\u202e"):
        assert is_blank(text)
    for text in (".", "a\u200b", "\U0001f600"):
        assert not is_blank(text)
