"""Run by Alembic: migrate on the connection that was handed in, inside its transaction."""

from alembic import context

from chatbot import keys  # noqa: F401  (its tables)
from chatbot.history import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
