import re
from dataclasses import fields
from pathlib import Path

from benchmarks.tune_decoding import RETRIEVALS
from chatbot.reply import DEFAULT, DecodingConfig

PAGE = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text("utf-8")


def test_as_many_responses_are_tried_as_the_page_has_rows_for():
    table = PAGE.partition("| retrieved | taken |")[2].partition("\n\n")[0]
    assert [int(row) for row in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == [
        one.retrieved for one in RETRIEVALS
    ]


def test_the_page_says_what_every_setting_of_the_default_decoding_trades():
    text = PAGE.partition("## The default decoding")[2].partition("\n## ")[0]
    plain = DecodingConfig()
    settings = {one.name for one in fields(DEFAULT) if getattr(DEFAULT, one.name) != getattr(plain, one.name)}
    assert not {name for name in settings | {"temperature"} if f"`{name}`" not in text}
