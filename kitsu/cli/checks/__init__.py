"""The checks of `kitsu check`, in one module for each area. Importing this package registers them.

To add a check, write one function with the decorator `registry.check`, and list its id in deploy/README.md.
"""

from kitsu.cli.checks import configuration, database, media

__all__ = ["configuration", "database", "media"]
