"""The `chatbot` command. Each room brings its own commands by the entry point `chatbot.commands`."""

from importlib.metadata import entry_points

import click


class Rooms(click.Group):
    """The commands of every room; an entry point names a mapping of command name to click command.

    A room's `commands` module imports torch and the like inside its functions, so that `--help` is instant.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._commands())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return self._commands().get(name)

    def _commands(self) -> dict[str, click.Command]:
        found: dict[str, click.Command] = {}
        for room in entry_points(group="chatbot.commands"):
            found.update(room.load())
        return found


@click.command(cls=Rooms, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hred-chatbot")
def main() -> None:
    """A chatbot of your own: prepare corpora, train, talk, serve, keep its history."""
