"""What an operator thinks of replies and of what they were chosen among, judged blind."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "judgements",
        sa.Column("turn_id", sa.String(36), nullable=False),
        sa.Column("candidates", sa.JSON(), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("turn_id", name="pk_judgements"),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name="fk_judgements_turn_id", ondelete="CASCADE"),
    )


def downgrade() -> None:
    op.drop_table("judgements")
