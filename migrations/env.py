"""Alembic's entry: runs the revisions on the connection that `kitsu.db.migrations` passes in."""

from alembic import context

from kitsu.db.migrations import configure

configure(context)
with context.begin_transaction():
    context.run_migrations()
