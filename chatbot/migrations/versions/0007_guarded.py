"""Which replies are fixed answers, and to what."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("turns", sa.Column("guarded", sa.String(16)))


def downgrade() -> None:
    op.drop_column("turns", "guarded")
