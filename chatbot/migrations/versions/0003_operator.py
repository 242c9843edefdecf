"""An index of turns by time, for the operator's figures of the last days."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index("ix_turns_created_at", "turns", ["created_at", "speaker", "checkpoint"])


def downgrade() -> None:
    op.drop_index("ix_turns_created_at", "turns")
