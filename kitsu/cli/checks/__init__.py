"""The checks of `kitsu check`, a module for each area. Importing this package registers them."""

from kitsu.cli.checks import configuration, database, mail, media

__all__ = ["configuration", "database", "mail", "media"]
