"""Which worker is at work on a started reply, and until when; training runs are all of one kind."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # The replies that are started now have no lease, so whoever comes first takes them over.
    op.add_column("turns", sa.Column("worker", sa.String(200)))
    op.add_column("turns", sa.Column("leased_until", sa.DateTime(timezone=True)))
    op.drop_column("training_runs", "kind")


def downgrade() -> None:
    op.add_column("training_runs", sa.Column("kind", sa.String(16), nullable=False, server_default="retrain"))
    op.drop_column("turns", "leased_until")
    op.drop_column("turns", "worker")
