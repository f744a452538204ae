"""Which addresses of other services Kitsu sends secrets to, or sends browsers to."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

_URL_CHARACTERS = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # RFC 3986; programs differ in how they read others


def is_secure(address: str, *, may_have_query: bool = False) -> bool:
    """Return whether an address is https, or http on this machine, and has neither user nor fragment."""
    if not _URL_CHARACTERS.fullmatch(address):
        return False
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        has_more = parts.username is not None or parts.fragment or (parts.query and not may_have_query)
        if not host or has_more or parts.port == 0:
            return False
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
