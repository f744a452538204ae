"""Query strings as curl and old browsers send them: letters beyond ASCII as they are, not percent-encoded."""

import re

from litestar.types import Scope

_RAW = re.compile(rb"[^\x00-\x7f]")


def encode_query(scope: Scope) -> None:
    """Percent-encode raw bytes of the query. Litestar would take them for Latin-1, and fail on what is no UTF-8."""
    query = scope["query_string"]
    if not query.isascii():
        scope["query_string"] = _RAW.sub(lambda found: b"%%%02X" % found[0][0], query)
