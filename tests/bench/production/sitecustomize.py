"""Hides packages that a production installation does not have; Litestar imports them if they exist."""

import sys

sys.modules["pydantic"] = None  # type: ignore[assignment] # imports of it raise ImportError
