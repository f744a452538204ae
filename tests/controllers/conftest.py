"""What the tests of lists find by name; it stands beside what it is made of."""

from tests.controllers.viewer.crowd import busy, crowd

__all__ = ["busy", "crowd"]
