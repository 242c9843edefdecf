"""Which conversations may be learned from, which replies were retrieved, and what became of each retraining."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    # Nobody was asked about the conversations there are, so none of them is learned from.
    op.add_column("conversations", sa.Column("learn", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("turns", sa.Column("retrieved", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "training_runs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("parent_checkpoint", sa.String(200), nullable=False),
        sa.Column("checkpoint", sa.String(200)),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("report", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_training_runs"),
    )


def downgrade() -> None:
    op.drop_table("training_runs")
    op.drop_column("turns", "retrieved")
    op.drop_column("conversations", "learn")
