"""The fixed answers, and which of them an earlier utterance was given."""

from collections.abc import Sequence
from zlib import crc32

HELP = "findahelpline.com, or your local emergency number"  # where a person finds help, if nobody set another text
LANGUAGE = "language"
CARING = ("suicide", "violence", "abuse", "minor", "emergency", "dosage")
_ANSWERS = {
    "suicide": (
        "I am sorry that you are in so much pain, and I am glad that you said it. I am only a small program and cannot "
        "keep you safe, but there are people who can, right now: {help}. If you have hurt yourself or taken something, "
        "please call an ambulance at once. You do not have to be alone with this.",
        "What you say worries me. I am only a small program, and you deserve a person who listens: {help}. If you are "
        "in danger now, or have hurt yourself or taken something, please call an ambulance or go to somebody near you.",
    ),
    "violence": (
        "Somebody could get badly hurt, and I am only a small program. If you or anybody else is in danger, please get "
        "to a safe place and call for help: {help}. If you feel that you might hurt somebody, please step away now and "
        "talk to one of them; they listen.",
    ),
    "abuse": (
        "Nobody may hit, hurt, neglect or touch a child or a partner in this way, and whoever is hurt is never to "
        "blame. I am only a small program, but there are people who help the one who is hurt, and also the one who "
        "fears to hurt somebody: {help}. If somebody is in danger now, please call the police or an ambulance.",
    ),
    "minor": (
        "I am a small program and not a person: I do not flirt, I meet nobody, and I want no pictures. You are young, "
        "so please do not meet anybody whom you know only from the internet, and send nobody pictures of yourself. If "
        "somebody asks you to, tell an adult whom you trust. Help for you: {help}.",
    ),
    "emergency": (
        "This may be an emergency, and I am only a small program: please call an ambulance now and do what they tell "
        "you. If something was swallowed, a poison centre helps as well. Whom to call: {help}.",
    ),
    "dosage": (
        "I am only a small program and must not advise on medicines or drugs: a wrong word could do harm. Please ask a "
        "doctor or a pharmacist, and change nothing before you have. If too much was taken, or somebody feels ill now, "
        "please call an ambulance or a poison centre: {help}.",
    ),
    "human": (
        "I am a bot called {name}: a small program that runs on this machine. I am not a person, and I have no age and "
        "no body.",
        "You are talking to a bot called {name}. I am a small program on this machine, not a human being, and nobody "
        "is typing this.",
        "I am not a human being but a bot called {name}, a small program on this machine. I have no age, and no body.",
        "I am a chatbot called {name}, a small program on this machine: no person writes this, and I have neither age "
        "nor birthday.",
    ),
    LANGUAGE: ("I am a small chatbot program called {name}, and I only know English.",),
}


def answer(category: str, utterance: str, name: str, help_text: str) -> str:
    """The same one for the same utterance."""
    wordings = _ANSWERS[category]
    return wordings[crc32(utterance.encode(errors="replace")) % len(wordings)].format(name=name, help=help_text)


def last_category(context: Sequence[str]) -> str | None:
    """The category of the utterance before, which its answer tells; None where the model answered that."""
    return next((name for begin, name in _BEGINNINGS.items() if context and context[-1].startswith(begin)), None)


_BEGINNINGS = {wording.partition("{")[0]: name for name, wordings in _ANSWERS.items() for wording in wordings}
