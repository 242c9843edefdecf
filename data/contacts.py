"""The contacts that a business gives out itself: its phone numbers, addresses, e-mail and web addresses.

They stand in what the assistants of its logs say. So do those of a customer, where an assistant repeats them. A contact
that a customer says first in any dialogue therefore counts as the customer's.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import regex

from data.formats.dialogue import Dialogue
from data.privacy import CONTACTS, found_in

FEWEST_DIALOGUES = 3  # in which an assistant gives out a contact of its business
MOST = 200  # contacts that are kept, the most frequent ones; each adds words to the vocabulary

_IN_BRACKETS = regex.compile(r"<(?:mailto:|tel:)?((?=[^<>\s]+[@/])[^<>\s]++|[+\d][\d ()/.-]+)>")


def business_contacts(dialogues: Iterable[Dialogue], fewest: int = FEWEST_DIALOGUES) -> frozenset[str]:
    """Return the keys (see `data.privacy.found_in`) of the contacts that assistants give out in at least `fewest`
    dialogues.

    A contact is left out where a user says it before the assistant does, or where a user repeats it and no other
    dialogue holds it. In a dialogue without roles everybody counts as a user.
    """
    given: defaultdict[str, set[int]] = defaultdict(set)  # contact -> dialogues
    repeated: set[str] = set()  # by users, after the assistant gave it
    of_users: set[str] = set()
    for number, dialogue in enumerate(dialogues):
        roles = dialogue.roles or ("user",) * len(dialogue.utterances)
        for role, text in zip(roles, dialogue.utterances, strict=True):
            for contact in _contacts(text):
                if role == "assistant":
                    given[contact].add(number)
                elif number in given[contact]:
                    repeated.add(contact)
                else:
                    of_users.add(contact)
    kept = [
        contact
        for contact, where in given.items()
        if contact not in of_users and len(where) >= max(fewest, 2 if contact in repeated else 1)
    ]
    return frozenset(sorted(kept, key=lambda contact: -len(given[contact]))[:MOST])


def _contacts(text: str) -> Iterator[str]:
    return (datum.key for datum in found_in(without_brackets(text)) if datum.kind in CONTACTS)


def without_brackets(text: str) -> str:
    """Return the text without the brackets that some write around contacts: `Ferry Desk <help@ferry.example>`."""
    return _IN_BRACKETS.sub(r"\1", text)
