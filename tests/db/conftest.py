"""What the tests of the database find by name; it stands beside what it is made of."""

from tests.db.look_ups import source, together
from tests.db.pools import arguments, make_pool, outside

__all__ = ["arguments", "make_pool", "outside", "source", "together"]
