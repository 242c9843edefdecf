import click

from chatbot.history_commands import history
from chatbot.models_commands import models
from chatbot.talk import talk

commands: dict[str, click.Command] = {"talk": talk, "history": history, "models": models}
