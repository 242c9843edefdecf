"""Talks with a running chatbot by `chatbot.client`:

python web/examples/chat.py http://localhost:8000 "Hi!" "How was your day?"
"""

import sys

from chatbot.client import ChatClient

address, *utterances = sys.argv[1:]
with ChatClient(address) as chat:
    conversation = chat.create()
    for text in utterances:
        print(f"you: {text}\nbot: ", end="")
        for words in chat.stream(conversation, text):
            print(words, end="", flush=True)
        print()
