"""Alembic's entry: the connection comes from :mod:`zkmargin.service.store.migrate`."""

from alembic import context

from zkmargin.service.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
