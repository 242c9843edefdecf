"""What a folder of cases gives: one folder a case, with the input and what is expected of it in EXPECT.txt.

    python -m benchmarks.cases FOLDER

Files of dialogues are read as `chatbot prepare` reads them (with --no-clean where the expectation says so) and weighed
as `chatbot retrain --logs` weighs them; each line of an utterances.txt is said to the default checkpoint in a dialogue
of its own. Everything is printed as it comes out, with no judgement. Other files are steps to be done by hand.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from chatbot.reply import ReplyRequest
from data.corpus import Corpus, DocumentError
from data.formats.dialogue import Dialogue
from data.formats.reader import DialogueReader
from data.preparation import fit_runs
from data.tokenizer import detokenise
from training.lessons import of_log

BY_HAND = {".js", ".py", ".sh"}
SHOWN_DIALOGUES, SHOWN_UTTERANCES, SHOWN_CHARACTERS = 3, 6, 100


def main(folder: Path) -> None:
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        print(f"\n=== {case.name}")
        expected = (case / "EXPECT.txt").read_text(encoding="utf-8")
        for file in sorted(case.iterdir()):
            if file.name == "EXPECT.txt":
                print(_short(f"Expected: {expected}", 400))
            elif file.name == "utterances.txt":
                _say(file.read_text(encoding="utf-8").splitlines())
            elif file.suffix in BY_HAND:
                print(f"--- {file.name}: to be done by hand")
            else:
                print(f"--- {file.name}")
                _read(file, as_it_is="--no-clean" in expected)


def _say(utterances: list[str]) -> None:
    from chatbot.checkpoint import load_checkpoint
    from chatbot.engine import ChatEngine

    with ChatEngine(load_checkpoint("default")) as engine:
        for utterance in utterances:
            print(f"  {utterance}\n    {engine.reply(ReplyRequest(utterance, seed=1)).text}")


def _read(file: Path, as_it_is: bool) -> None:
    reader = DialogueReader()
    skipped: list[str] = []
    dropped: Counter[str] = Counter()
    dialogues = list(_dialogues(file, reader, dropped, skipped))
    kept = []
    for dialogue in dialogues:
        weights = of_log(dialogue).weights
        for run in fit_runs(dialogue.utterances, dropped, as_it_is):
            kept.append([(dialogue, place, weights[place], detokenise(tokens)) for place, tokens in run])
    for run in islice(kept, SHOWN_DIALOGUES):
        for dialogue, place, weight, text in run[:SHOWN_UTTERANCES]:
            role = dialogue.roles[place] if dialogue.roles else "?"
            print(f"  {role:>9} {weight:g}  {_short(text, SHOWN_CHARACTERS)}")
        print()
    utterances = sum(len(dialogue.utterances) for dialogue in dialogues)
    print(f"  read: {len(dialogues)} dialogues of {utterances} utterances; kept: {len(kept)} of {sum(map(len, kept))}")
    for reasons in reader.dropped.values():
        dropped.update(reasons)
    print(
        f"  dropped: {', '.join(f'{reason} {count}' for reason, count in dropped.most_common() if count) or 'nothing'}"
    )
    for reason in chain(skipped, reader.unread_lines()):
        print(f"  skipped: {reason}")


def _dialogues(file: Path, reader: DialogueReader, dropped: Counter[str], skipped: list[str]) -> Iterator[Dialogue]:
    for document in Corpus([file], lambda name, reason: skipped.append(f"{Path(name).name}: {reason}")).documents():
        try:
            for one in reader.read(document):
                yield from [one] if isinstance(one, Dialogue) else one.dialogues(dropped)
        except DocumentError as error:
            skipped.append(f"{Path(document.name).name}: {error}")


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}..."


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("Give the folder of cases: python -m benchmarks.cases FOLDER")
    main(Path(sys.argv[1]))
