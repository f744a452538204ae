"""Hides packages that a production installation does not have; Litestar and PyJWT import them if they exist."""

import sys

for _name in ("pydantic", "cryptography"):
    sys.modules[_name] = None  # type: ignore[assignment] # imports of it raise ImportError
