"""The database's tables, revision by revision (Alembic). `upgrade` runs whenever a database is opened."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

_LOCK = 0x48524544  # any number, the same in every process: only one of them migrates at a time


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the tables up to `revision`. Raises alembic.util.CommandError at one it does not know."""
    with engine.execution_options(immediate=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        command.upgrade(config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the tables back to `revision` ("base": none at all)."""
    with engine.execution_options(immediate=True).begin() as connection:
        command.downgrade(config(connection), revision)


def config(connection: Connection) -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    settings.attributes["connection"] = connection
    return settings
