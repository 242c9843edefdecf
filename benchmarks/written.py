"""What the conversations of the corpus `written` hold: `python -m benchmarks.written`.

How much there is, what is there twice, how the chatbot speaks, which themes come up, and how often something that was
told comes back. The test split is counted, and compared with the others; no word of it is printed.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from lzma import LZMAError
from pathlib import Path
from statistics import median

import regex

from data.formats.corpora import written
from data.formats.dialogue import Dialogue
from data.tokenizer import JOINER, tokenise
from data.vocabulary import UNK, Vocabulary, fold

VOCABULARY = Path(__file__).parents[1] / "chatbot" / "pretrained" / "vocabulary.json"
NGRAM = 5
COMMON_NGRAM = 20  # conversations; an n-gram of more of them is a set phrase and tells nothing
NEAR = 0.3  # of the shorter conversation's n-grams
SHORT_SENTENCE = 10  # words
FAR = 4  # turns between telling and coming back
RARE = 0.02  # of the conversations hold a word that is a fact of one of them

# A keyword stands for its plural as well.
THEMES = {
    name: frozenset(keywords.split())
    for name, keywords in {
        "greeting": "hi hello hey morning evening",
        "parting": "bye goodbye night later farewell",
        "how are you": "feeling fine okay ok",
        "names": "name called nickname",
        "home town": "live city town village moved",
        "weather": "rain rainy sun sunny snow wind windy storm weather cloud fog hot cold",
        "seasons": "spring summer autumn winter",
        "work": "work job boss office shift colleague coworker meeting interview",
        "school": "school class teacher homework test exam grade math university student",
        "parents": "mother father mom mum dad parents",
        "grandparents": "grandmother grandfather grandma grandpa gran nan granny",
        "siblings": "brother sister twin",
        "children": "son daughter baby kid child children niece nephew",
        "friends": "friend friendship",
        "love": "love date girlfriend boyfriend kiss wedding marry married husband wife crush",
        "parting of lovers": "divorce broke ex breakup",
        "dogs": "dog puppy",
        "cats": "cat kitten",
        "other animals": "bird fish horse rabbit hamster fox hen goat bee turtle parrot",
        "food": "eat food dinner lunch breakfast pizza soup cheese bread hungry",
        "cooking": "cook cooking bake cake recipe kitchen oven",
        "drinks": "coffee tea beer wine juice",
        "sport": "football soccer basketball tennis swim swimming team goal game run running gym",
        "music": "music song sing guitar piano violin drum band choir concert",
        "films": "film movie cinema series",
        "books": "book read reading story library poem novel",
        "games": "chess play puzzle cards computer",
        "travel": "trip travel train bus plane holiday vacation beach sea mountain",
        "house": "house room flat apartment bed sofa wall window neighbor neighbour",
        "garden": "garden plant flower tree tomato",
        "clothes": "dress shoe coat hat shirt sock scarf",
        "health": "doctor sick hospital headache pain cold fever tooth dentist leg",
        "sleep": "sleep tired dream awake",
        "money": "money pay euro dollar rent bill expensive cheap",
        "celebrations": "birthday party christmas present gift",
        "plans": "tomorrow weekend plan",
        "memories": "remember memory childhood ago",
        "grief": "died dead funeral miss grief",
        "anger": "angry mad hate furious unfair",
        "boredom": "bored boring nothing",
        "pride": "proud won passed medal prize",
        "fear": "afraid scared nervous worried fear",
        "loneliness": "lonely alone",
        "the chatbot": "robot bot human program computer robin ai",
        "jokes and riddles": "joke riddle funny",
        "sums": "plus minus times sum",
        "rudeness": "stupid idiot dumb useless shut",
        "other languages": "english french german spanish italian language",
    }.items()
}


@dataclass(frozen=True)
class Conversation:
    dialogue: Dialogue

    @cached_property
    def turns(self) -> list[list[str]]:
        """The words of each turn, in lower case."""
        return [words_of(text) for text in self.dialogue.utterances]

    @cached_property
    def ngrams(self) -> frozenset[tuple[str, ...]]:
        """The runs of words within a turn, and where turns are shorter, from one to the next."""
        words = [word for turn in self.turns for word in turn]
        return frozenset(zip(*(words[start:] for start in range(NGRAM)), strict=False))

    @property
    def replies(self) -> Iterator[str]:
        """What the chatbot says."""
        return (
            text
            for role, text in zip(self.dialogue.roles, self.dialogue.utterances, strict=True)
            if role == "assistant"
        )


def words_of(text: str) -> list[str]:
    cores = (token.strip(JOINER) for token in tokenise(text))
    return [fold(core) for core in cores if any(map(str.isalnum, core))]


def plain(text: str) -> str:
    """What the same words look like without capitals and marks; of a text without words, the text."""
    return regex.sub(r"[^\w\s']", "", fold(text)).strip() or text


def main() -> None:
    try:
        conversations = list(map(Conversation, written()))
        vocabulary = Vocabulary.load(VOCABULARY)
    except (OSError, ValueError, KeyError, LZMAError, EOFError) as error:
        sys.exit(
            f"The conversations or the shipped vocabulary cannot be read ({error}); take them anew from the sources."
        )
    shown = [one for one in conversations if one.dialogue.split != "test"]
    if not shown:
        sys.exit("There are no conversations in data/written; take them anew from the sources.")
    sections = {
        "Size": sizes(conversations),
        "Said twice": duplicates(conversations),
        "Openings, without the test split as all below": openings(shown),
        "What the chatbot says": replies(shown),
        "Words that the shipped vocabulary lacks": unknown(shown, vocabulary),
        f"Facts that come back {FAR} turns later or more": facts(shown),
        "Conversations by theme": themes(shown),
    }
    for title, rows in sections.items():
        print(f"\n{title}")
        for name, figure in rows:
            print(f"  {name:<56} {figure}")


Rows = Iterator[tuple[str, str]]


def sizes(conversations: Sequence[Conversation]) -> Rows:
    for split in ("train", "validation", "test"):
        of_split = [one for one in conversations if one.dialogue.split == split]
        turns = sum(len(one.turns) for one in of_split)
        words = sum(len(turn) for one in of_split for turn in one.turns)
        yield split, f"{len(of_split):,} conversations, {turns:,} turns, {words:,} words"


def duplicates(conversations: Sequence[Conversation]) -> Rows:
    texts = Counter(tuple(map(tuple, one.turns)) for one in conversations)
    yield "conversations that another repeats word for word", f"{sum(texts.values()) - len(texts):,}"
    near = near_duplicates(conversations)
    whose = {place for pair in near for place in pair}
    yield f"conversations that share {NEAR:.0%} of their {NGRAM}-grams with another", f"{len(whose):,}"
    across = [pair for pair in near if len({conversations[place].dialogue.split for place in pair}) > 1]
    yield "pairs of such conversations in different splits", f"{len(across):,}"


def near_duplicates(conversations: Sequence[Conversation]) -> list[tuple[int, int]]:
    """The places of the two of each pair."""
    holders: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, one in enumerate(conversations):
        for ngram in one.ngrams:
            holders[ngram].append(place)
    shared = Counter(
        pair for places in holders.values() if len(places) <= COMMON_NGRAM for pair in combinations(places, 2)
    )
    sizes = [len(one.ngrams) for one in conversations]
    return [(one, other) for (one, other), count in shared.items() if count >= NEAR * min(sizes[one], sizes[other])]


def openings(conversations: Sequence[Conversation]) -> Rows:
    counts = Counter(plain(one.dialogue.utterances[0]) for one in conversations)
    repeated = sum(count for count in counts.values() if count > 1)
    yield "conversations that begin as another does", f"{repeated:,} ({repeated / len(conversations):.1%})"
    for text, count in counts.most_common(5):
        yield f'"{text}"', f"{count:,}"


def replies(conversations: Sequence[Conversation]) -> Rows:
    said = [text for one in conversations for text in one.replies]
    lengths = [len(words_of(text)) for text in said]
    sentences = [len(regex.findall(r"[^.!?…]*\w[^.!?…]*", text)) for text in said]
    short = [count == 1 and length <= SHORT_SENTENCE for count, length in zip(sentences, lengths, strict=True)]
    counts = Counter(map(plain, said))
    repeated = sum(count for count in counts.values() if count > 1)
    shares = {
        f"a single sentence of at most {SHORT_SENTENCE} words": sum(short),
        "three sentences or more": sum(count > 2 for count in sentences),
        "more than 20 words": sum(length > 20 for length in lengths),
        "a question": sum("?" in text for text in said),
        "two questions or more": sum(len(regex.findall(r"\?+", text)) > 1 for text in said),
        "said in another place as well": repeated,
    }
    yield "turns", f"{len(said):,}"
    yield "median length in words", f"{median(lengths):g}"
    for name, count in shares.items():
        yield name, f"{count / len(said):.1%}"
    for text, count in counts.most_common(5):
        yield f'"{text}"', f"{count:,}"


def unknown(conversations: Sequence[Conversation], vocabulary: Vocabulary) -> Rows:
    counts = Counter(word for one in conversations for turn in one.turns for word in turn)
    missing = Counter({word: count for word, count in counts.items() if vocabulary.id_of(word) == UNK})
    holders = sum(any(word in missing for turn in one.turns for word in turn) for one in conversations)
    yield "of all words said", f"{missing.total() / counts.total():.2%}"
    yield "of all different words", f"{len(missing):,} of {len(counts):,}"
    yield "conversations with one", f"{holders / len(conversations):.1%}"
    yield "the commonest", ", ".join(word for word, _ in missing.most_common(12))


def facts(conversations: Sequence[Conversation]) -> Rows:
    counts = Counter(word for one in conversations for word in {word for turn in one.turns for word in turn})
    common = {word for word, count in counts.items() if count > RARE * len(conversations)}
    found = [coming_back(one, common) for one in conversations]
    some = sum(map(bool, found))
    yield "conversations with one", f"{some:,} ({some / len(conversations):.1%})"
    yield "of all", f"{sum(map(len, found)):,}"
    for word, count in Counter(word for words in found for word in words).most_common(3):
        yield f'"{word}"', f"{count:,}"


def coming_back(conversation: Conversation, common: set[str]) -> set[str]:
    """The words, none of them common, that the chatbot says again a while after a person last said them."""
    last: dict[str, tuple[int, str]] = {}
    found = set()
    for place, (role, turn) in enumerate(zip(conversation.dialogue.roles, conversation.turns, strict=True)):
        for word in set(turn) - common:
            before, speaker = last.get(word, (place, role))
            if role == "assistant" and speaker == "user" and place - before >= FAR:
                found.add(word)
            last[word] = (place, role)
    return found


def themes(conversations: Sequence[Conversation]) -> Rows:
    said = [{word for turn in one.turns for word in turn} for one in conversations]
    forms = {name: keywords | {f"{word}s" for word in keywords} for name, keywords in THEMES.items()}
    holders = {name: sum(not words.isdisjoint(keywords) for words in said) for name, keywords in forms.items()}
    for name, count in sorted(holders.items(), key=lambda one: -one[1]):
        yield name, f"{count:,} ({count / len(said):.1%})"
    none = sum(all(words.isdisjoint(keywords) for keywords in forms.values()) for words in said)
    yield "none of these", f"{none:,} ({none / len(said):.1%})"


if __name__ == "__main__":
    main()
