"""How far a chatbot remembers: `python -m benchmarks.remember [CHECKPOINT] [--replies FILE]`.

In 200 conversations somebody tells a fact, says a few other things, and asks for the fact: in half of them a common
word, in the others one that the network cannot have learned. The chatbot answers every line as it does in the service,
and its last reply is right where it holds the fact. Which conversations these are follows from this file alone.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.converse import conversation
from benchmarks.talks import engine_of, options_of, save, share, side_by_side
from chatbot.engine import ChatEngine
from chatbot.safety.answers import last_category

DISTANCES = (1, 2, 4, 8)  # lines of small talk between telling and asking
EACH = 25  # conversations of each distance, with common facts and with unknown ones
GOALS = {True: dict(zip(DISTANCES, (0.8, 0.8, 0.6, 0.4), strict=True))}
GOALS[False] = {distance: goal / 2 for distance, goal in GOALS[True].items()}


@dataclass(frozen=True)
class Kind:
    """Lines that tell a fact and lines that ask for it; facts that are common, and facts that nobody can know.

    A fact of more words is told as it stands, and known by the word that is marked with a star; what is written
    behind a slash is as right.
    """

    told: Sequence[str]
    asked: Sequence[str]
    common: str
    unknown: str

    def facts(self, is_common: bool) -> list[str]:
        return [fact.strip() for fact in (self.common if is_common else self.unknown).split(",")]


KINDS = {
    "name": Kind(
        ("Hi, my name is {}.", "Hello! I'm {}.", "Hey, I am {}. Nice to meet you.", "You can call me {}."),
        ("What is my name?", "Do you remember my name?", "So, what's my name?", "Can you tell me my name?"),
        "Anna, David, Sarah, Tom, Lucy, Peter, Maria, Daniel, Emma, Frank, Julia, Kevin",
        "Zorvin, Maleth, Quindra, Oblen, Tavisk, Yremka, Borluth, Senwyl, Drimmo, Faluki, Ghestra, Ilvanor",
    ),
    "pet": Kind(
        ("I have a dog. His name is {}.", "My dog {} is asleep.", "My cat's name is {}.", "I have a cat called {}."),
        ("What is the name of my pet?", "What is my pet called?", "Do you remember the name of my pet?"),
        "Max, Bella, Rocky, Charlie, Lucky, Bruno, Duke, Teddy, Sammy, Rex, Lily, Toby",
        "Wumpkin, Fluzzo, Tibbarel, Snorvik, Pippenzo, Grolfy, Zushka, Munbelly, Krinko, Doffle, Bazoot, Quizzel",
    ),
    "job": Kind(
        ("I work as a {}.", "I am a {}.", "I have worked as a {} for ten years.", "My job? I'm a {}."),
        ("What is my job?", "What do I do for a living?", "Do you remember what my job is?", "What do I work as?"),
        "teacher, nurse, doctor, lawyer, driver, cook, writer, artist, manager, dancer, pilot, singer",
        "plinthwright, glomper, snailkeeper, quillmonger, fenwarden, tarnfitter, moldrigger, bogmeter, wickdyer, "
        "sprocketeer, marlgrinder, yarnwarper",
    ),
    "town": Kind(
        ("I live in {}.", "I am from {}.", "I moved to {} last year.", "My home is in {}."),
        ("Where do I live?", "Do you remember where I live?", "Which town do I live in?", "Where is my home?"),
        "Chicago, London, Boston, Paris, Seattle, Dallas, Miami, Houston, Denver, Berlin, Atlanta, Detroit",
        "Ostermoor, Velbruk, Harnstow, Quellby, Drossen, Imbelford, Tarvanne, Zutterby, Lommerick, Pellquist, "
        "Skarnholt, Wexmire",
    ),
    "color": Kind(
        ("My favorite color is {}.", "I love the color {}.", "I painted my room {}. It is my favorite color."),
        ("What is my favorite color?", "Which color do I like best?", "Do you remember my favorite color?"),
        "red, blue, green, yellow, purple, pink, black, white, brown, orange, gold, silver",
        "vermelline, quorange, ultraplum, celadune, mauvette, glaucine, brindigo, ochrelle, saffrine, limeroon, "
        "tealberry, duskory",
    ),
    "number": Kind(
        ("My lucky number is {}.", "My favorite number is {}.", "Think of the number {} for me."),
        ("What is my number?", "Do you remember my number?", "Which number did I tell you?"),
        "three/3, four/4, five/5, six/6, seven/7, eight/8, nine/9, ten/10, eleven/11, twelve/12, twenty/20, thirty/30",
        "8417, 60931, 7729, 5183, 94026, 3871, 65408, 2937, 71354, 4609, 83172, 9546",
    ),
    "plan": Kind(
        ("Tomorrow I will {}.", "I'm going to {} tomorrow.", "My plan for tomorrow is to {}."),
        ("What will I do tomorrow?", "What is my plan for tomorrow?", "Do you remember my plan for tomorrow?"),
        "clean the *kitchen, go to the *beach, visit my *grandmother, buy a new *car, see the *doctor, ride my *bike, "
        "play *football, paint the *door, read a *book, wash the *dog, make a *cake, go to a *concert",
        "polish my *brumbler, visit *Felgrund, bake a *zortle, repair the *quombat, play *shindlecap, meet *Ardulka, "
        "plant some *velmroot, go to the *Orlimar, learn *Tashkelian, buy a *glimbox, clean the *snorfel, "
        "ride my *marnok",
    ),
}

# What is said in between: it tells no fact of those kinds and asks for none.
SMALL_TALK = (
    "The weather is nice today.",
    "I slept very well.",
    "Do you like music?",
    "I am a little tired.",
    "I watched a movie last night.",
    "It was really funny.",
    "What do you think about that?",
    "I had soup for lunch.",
    "It was very good.",
    "It is raining again.",
    "I like to sit by the window.",
    "Do you like the rain?",
    "I went for a walk this morning.",
    "There were a lot of people in the park.",
    "I think I will stay at home tonight.",
    "Do you ever get bored?",
    "I read the news today.",
    "That is good to know.",
    "My friend called me this morning.",
    "We talked for a long time.",
    "I need a new pair of shoes.",
    "They are so expensive now.",
    "I should exercise more.",
    "Do you have any advice?",
    "Thank you, that is nice of you.",
    "I love the summer.",
    "What should I eat tonight?",
    "Maybe I will make some pasta.",
)


@dataclass(frozen=True)
class Trial:
    kind: str
    is_common: bool
    distance: int
    fact: str
    lines: tuple[str, ...]
    said: list[str] = field(default_factory=list)  # all of it, once it was held

    @property
    def is_right(self) -> bool:
        """Whether the last reply holds the fact."""
        return any(re.search(rf"\b{re.escape(word)}\b", self.said[-1], re.IGNORECASE) for word in wanted(self.fact))


def wanted(fact: str) -> list[str]:
    """The words any of which tells a fact."""
    marked = re.search(r"\*(\w+)", fact)
    return [marked[1]] if marked else fact.split("/")


def trials() -> list[Trial]:
    drawn = random.Random(0)
    made = []
    for is_common in (True, False):
        for distance in DISTANCES:
            for number in range(EACH):
                name = list(KINDS)[(number + len(made) // EACH) % len(KINDS)]
                kind = KINDS[name]
                fact = drawn.choice(kind.facts(is_common))
                told = drawn.choice(kind.told).format(fact.replace("*", "").partition("/")[0])
                between = drawn.sample(SMALL_TALK, distance)
                made.append(Trial(name, is_common, distance, fact, (told, *between, drawn.choice(kind.asked))))
    return made


def hold(engine: ChatEngine, made: Sequence[Trial]) -> None:
    """Holds the conversations, many side by side."""
    said = side_by_side(lambda place: conversation(engine, list(made[place].lines), seed=place), range(len(made)))
    for trial, of_trial in zip(made, said, strict=True):
        trial.said.extend(of_trial)


def table(made: Sequence[Trial]) -> list[str]:
    lines = []
    for is_common, title in ((True, "common words"), (False, "words never seen")):
        for distance in DISTANCES:
            goal = f"goal {GOALS[is_common][distance]:.0%}"
            found = [one.is_right for one in made if (one.is_common, one.distance) == (is_common, distance)]
            lines.append(f"{title:<17} {distance} lines later   {share(found)}   {goal}")
    for kind in KINDS:
        of_kind = [
            [one.is_right for one in made if (one.kind, one.is_common) == (kind, is_common)]
            for is_common in (True, False)
        ]
        lines.append(f"{kind:<17} common {share(of_kind[0])}   never seen {share(of_kind[1])}")
    replies = [reply for one in made for reply in one.said[1::2]]
    fixed = sum(last_category((reply,)) is not None for reply in replies)
    return [
        *lines,
        f"{fixed} of the {len(replies):,} lines, none of them a danger, got a fixed answer of the safety layer",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(__doc__, arguments)
    with engine_of(options.checkpoint) as engine:
        hold(engine, made := trials())
        print(engine.checkpoint.id, *table(made), sep="\n")
    save(options.replies, (asdict(one) | {"right": one.is_right} for one in made))


if __name__ == "__main__":
    main()
