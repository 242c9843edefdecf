"""`chatbot retrain`, what people said becomes a better checkpoint; `chatbot init-from`, a first one of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError, told_to_user

if TYPE_CHECKING:
    from rich.table import Table

    from training.gate import Verdict


@click.command()
@click.option("--logs", "logs", multiple=True, type=click.Path(path_type=Path), help="Dialogues of another system.")
@click.option("--from", "parent", default="live", show_default=True, help="The checkpoint to begin from.")
@click.option("--promote", is_flag=True, help="Make the new checkpoint live if the gate lets it pass.")
@click.option("--base", default="chitchat", show_default=True, help="The corpus not to be forgotten: a file or folder.")
@click.option("--passes", default=12, show_default=True, type=click.IntRange(min=1), help="Over what is to be learned.")
@click.option("--unchecked", is_flag=True, help="Learn from replies that nobody rated, too; it makes replies dull.")
@click.option(
    "--keep-contacts", is_flag=True, help="Learn all phone numbers and addresses that --logs' assistant says."
)
@click.option(
    "--margin",
    default=0.03,
    show_default=True,
    type=click.FloatRange(min=0),
    help="By how much the perplexity on the base corpus may certainly not rise.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of order and drawing.")
@click.option("--database", envvar="CHATBOT_DATABASE", metavar="URL", help="The history (sqlite:///var/chatbot.db).")
def retrain(
    logs: tuple[Path, ...],
    parent: str,
    promote: bool,
    base: str,
    passes: int,
    unchecked: bool,
    keep_contacts: bool,
    margin: float,
    seed: int,
    database: str | None,
) -> None:
    """Train on the stored conversations that may be learned from, and on --logs, and judge what comes of it.

    Of stored conversations the replies count that people approved (thumbs up) or would rather have read; those with
    thumbs down are trained against. Of --logs (chat JSONL, CSV with named columns, Rasa, ChatterBot, ...) what the
    assistant said. A gate compares the new checkpoint with the one it comes from; the live one stays as it is unless
    the gate is passed and --promote given. Stop it with Ctrl-C whenever you like; the same command goes on.
    """
    from rich.console import Console
    from sqlalchemy.exc import SQLAlchemyError

    from chatbot.history import DEFAULT_DATABASE, DatabaseError, open_history
    from chatbot.processor import step_back
    from training.gate import Margins
    from training.retrain import RetrainConfig
    from training.retrain import retrain as follow

    step_back()
    console = Console(stderr=True)
    config = RetrainConfig(
        logs=logs,
        parent=parent,
        base=base,
        unchecked=unchecked,
        keep_contacts=keep_contacts,
        passes=passes,
        margins=Margins(perplexity=margin),
        seed=seed,
    )
    try:
        with told_to_user(ValueError, DatabaseError):
            outcome = follow(config, open_history(database or DEFAULT_DATABASE), promote, console)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise UserError(f"The history cannot be used ({reason}); mend that, and the same command goes on.") from error
    except KeyboardInterrupt:
        click.echo("Stopped; what was done is kept. Go on with the same command.", err=True)
        raise SystemExit(130) from None
    console.print(_table(outcome.verdict))
    for fault in outcome.verdict.faults:
        click.echo(f"Not passed: {fault}")
    if outcome.promoted:
        click.echo(f"{outcome.checkpoint.id} is live; a running server takes it within seconds.")
    else:
        click.echo(f"The checkpoint is in {outcome.checkpoint.folder}; the live one is as it was.")
        if outcome.verdict.passed:
            if promote:
                click.echo("Another one was made live while it learned, so it was not promoted.")
            click.echo(f"It passed. Make it live with: chatbot models promote {outcome.checkpoint.folder}")


def _table(verdict: "Verdict") -> "Table":
    """The gate's figures before and after, with the interval of what comes after."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table("", "before", "after", "95 % interval", box=SIMPLE)
    for name, figures in verdict.figures.items():
        digits = 1 if "perplexity" in name else 3
        shown = [f"{figures[key]:.{digits}f}" for key in ("live", "candidate")]
        interval = f"{figures['low']:.{digits}f}–{figures['high']:.{digits}f}" if "low" in figures else ""
        table.add_row(name.replace("_", " "), *shown, interval)
    return table


@click.command("init-from")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--out", default=Path("var/runs/own"), show_default=True, type=click.Path(path_type=Path))
@click.option("--clean/--no-clean", default=True, help="Keep English talk only; or take any language as it is.")
@click.pass_context
def init_from(context: click.Context, sources: tuple[str, ...], out: Path, clean: bool) -> None:
    """Make a bot from nothing but SOURCEs: logs, dialogues, subtitles, in files or folders of any known format.

    Prepares them, says what to expect, trains word vectors and a network sized to the data. Stop it with Ctrl-C
    whenever you like; the same command goes on.
    """
    from data.commands import prepare
    from training.commands import train
    from training.config import read_recipe
    from training.init_from import announcement, plan_for, recipe_text

    prepared, recipe = out / "prepared", out / "recipe.toml"
    with told_to_user(ValueError):
        if recipe.is_file() and (begun := read_recipe(recipe).corpus).sources != sources:
            raise UserError(f"{out} was begun from {', '.join(begun.sources)}; give another --out for other sources.")
    if not (prepared / "report.json").is_file():
        context.invoke(prepare, sources=sources, out=prepared, vocabulary_size=12_000, clean=clean)
    with told_to_user(ValueError):
        plan = plan_for(prepared)
        if not recipe.is_file():
            recipe.write_text(recipe_text(plan, out, list(sources), clean), encoding="utf-8")
        click.echo(announcement(plan, read_recipe(recipe)), err=True)
    context.invoke(train, recipe=recipe)
    click.echo(f"Make it the one that answers with: chatbot models promote {out / 'checkpoint'}")


commands: dict[str, click.Command] = {"retrain": retrain, "init-from": init_from}
