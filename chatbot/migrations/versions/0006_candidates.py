"""What each reply was chosen among."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("turns", sa.Column("candidates", sa.JSON()))


def downgrade() -> None:
    op.drop_column("turns", "candidates")
