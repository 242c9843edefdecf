import click

from chatbot.history_commands import history
from chatbot.keys_commands import keys
from chatbot.models_commands import models
from chatbot.talk import talk

commands: dict[str, click.Command] = {"talk": talk, "history": history, "keys": keys, "models": models}
