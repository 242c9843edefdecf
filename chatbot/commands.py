import click

from chatbot.talk import talk

commands: dict[str, click.Command] = {"talk": talk}
