"""API keys, and which users came with which."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("secret_hash", sa.String(200), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_table(
        "key_users",
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("key_id", sa.String(12), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_key_users"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_key_users_user_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_key_users_key_id"),
    )
    op.create_index("ix_key_users_key_id", "key_users", ["key_id"])


def downgrade() -> None:
    op.drop_table("key_users")
    op.drop_table("api_keys")
