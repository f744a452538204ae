"""The checks of `kitsu check`, a module for each area. Importing this package registers them."""

from kitsu.cli.checks import accounts, configuration, database, mail, media

__all__ = ["accounts", "configuration", "database", "mail", "media"]
