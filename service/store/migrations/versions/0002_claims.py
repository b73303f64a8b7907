"""Claims on idempotency keys"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Rows that are there are answers already given, which nobody claims."""
    with op.batch_alter_table("idempotency", schema=None) as batch_op:
        batch_op.add_column(sa.Column("owner", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("until", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Undo. Claims and refusals go: the earlier version reads every row as an answer."""
    op.execute("DELETE FROM idempotency WHERE status NOT BETWEEN 200 AND 299")
    with op.batch_alter_table("idempotency", schema=None) as batch_op:
        batch_op.drop_column("until")
        batch_op.drop_column("owner")
