import click

commands: dict[str, click.Command] = {}
