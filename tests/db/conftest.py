"""What the tests of the database find by name; it stands beside what it is made of."""

from tests.db.look_ups import source, together
from tests.db.pools import line, make_runner, outside

__all__ = ["line", "make_runner", "outside", "source", "together"]
