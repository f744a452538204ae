"""A process of the benchmark is one of a production install: what only the tests' tools bring along is not there.

Litestar and PyJWT import these where they find them.
"""

import sys

for _name in ("pydantic", "cryptography"):
    sys.modules[_name] = None  # type: ignore[assignment] # which is how a module that is not there looks
