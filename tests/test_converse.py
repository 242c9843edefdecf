from benchmarks import converse
from chatbot.reply import DecodingConfig
from tests.tiny_checkpoint import tiny_checkpoint


def test_nothing_is_taken_from_an_index(tmp_path, monkeypatch, capsys):
    asked = []

    class Responses:
        def find(self, states, earlier, count):
            asked.append(count)
            return [[]] * len(states)

    monkeypatch.setattr("chatbot.engine.open_responses", lambda checkpoint: Responses())
    monkeypatch.setattr(converse, "DEFAULT", DecodingConfig(retrieved=2, max_tokens=5))
    monkeypatch.setattr(converse, "COUNT", 1)
    converse.main(str(tiny_checkpoint(tmp_path / "checkpoint").folder))
    assert capsys.readouterr().out.startswith("### 1\n\n> ")
    assert not asked
