"""Source URLs, the only ids in the file: entries that share one are the same anime."""

import re
from urllib.parse import urlsplit

# Host to the name of the provider, and the pattern of path and query with the id.
_PROVIDERS = {
    "anidb.net": ("anidb", r"/anime/([0-9]+)"),
    "anilist.co": ("anilist", r"/anime/([0-9]+)"),
    "anime-planet.com": ("anime_planet", r"/anime/([^/?]+)"),
    "animecountdown.com": ("animecountdown", r"/([0-9]+)"),
    "animenewsnetwork.com": ("animenewsnetwork", r"/encyclopedia/anime\.php\?id=([0-9]+)"),
    "anisearch.com": ("anisearch", r"/anime/([0-9]+)"),
    "kitsu.app": ("kitsu", r"/anime/([0-9]+)"),
    "kitsu.io": ("kitsu", r"/anime/([0-9]+)"),
    "livechart.me": ("livechart", r"/anime/([0-9]+)"),
    "myanimelist.net": ("myanimelist", r"/anime/([0-9]+)"),
    "notify.moe": ("notify_moe", r"/anime/([A-Za-z0-9_-]+)"),
    "simkl.com": ("simkl", r"/anime/([0-9]+)"),
}
MAX_BYTES = 1000
"""A longer source does not fit a key of an index."""
MAX_HOST = 255

_PATTERNS = {host: (provider, re.compile(pattern + "/?")) for host, (provider, pattern) in _PROVIDERS.items()}


def parse_source(url: str) -> tuple[str, str]:
    """Return provider and id of a source URL; of an unknown site its host and the whole URL.

    Raises ValueError for what is no http(s) URL.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.")
    except ValueError:
        host = ""
    fits = len(host) <= MAX_HOST and len(url.encode()) <= MAX_BYTES
    if not host or not fits or parts.scheme not in {"http", "https"} or re.search(r"\s", url):
        raise ValueError(f"the source {url[:100]!r} is no URL")
    provider, pattern = _PATTERNS.get(host, (host, None))
    if pattern is not None:
        found = pattern.fullmatch(parts.path + (f"?{parts.query}" if parts.query else ""))
        if found is not None:
            return provider, str(int(found[1])) if "[0-9]+" in pattern.pattern else found[1]
    return host, url
