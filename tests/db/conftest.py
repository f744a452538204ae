"""The fixtures of the tests of the database."""

from tests.db.look_ups import loader, source
from tests.db.pools import make_runner, outside, proxy

__all__ = ["loader", "make_runner", "outside", "proxy", "source"]
