"""Alembic's entry: runs the revisions on the connection that `kitsu.db.migrations` passes in."""

from alembic import context

from kitsu.db import models

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=models.Anime.metadata,
    # Without this, autogenerate drops every table that the models don't have.
    include_object=lambda _object, _name, type_, reflected, compare_to: (
        not (type_ == "table" and reflected and compare_to is None)
    ),
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
