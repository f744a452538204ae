"""The fixtures of the tests of the database."""

from tests.db.look_ups import loader, source
from tests.db.pools import line, make_runner, outside

__all__ = ["line", "loader", "make_runner", "outside", "source"]
