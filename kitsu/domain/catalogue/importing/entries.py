"""An entry of the file: its schema, its values as columns of the catalogue, and its source URLs as ids."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from kitsu.db.columns import MAX_INTEGER
from kitsu.domain.catalogue.anime import Provider
from kitsu.domain.catalogue.edits import IMAGE_URL, MAX_EPISODES, MAX_URL_LENGTH

# Host to the name of the provider, and the pattern of path and query with the id.
_PROVIDERS: dict[str, tuple[Provider, str]] = {
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
MAX_SOURCE_BYTES = 1000
"""A longer source does not fit a key of an index."""
MAX_HOST = 255
MAX_REMARKS = 10
"""Of an entry: after them a list with a wrong item is left out as a whole."""
YEAR_10000 = 253_402_300_800  # in Unix seconds

_PATTERNS = {host: (provider, re.compile(pattern + "/?")) for host, (provider, pattern) in _PROVIDERS.items()}

# What the database can store: neither a NUL nor a lone surrogate.
_STORABLE = r"^[^\x00\ud800-\udfff]*\Z"
_Name = Annotated[str, Meta(min_length=1, max_length=1000, pattern=_STORABLE)]
# The longest text that fits a key of an index in any script.
_Tag = Annotated[str, Meta(min_length=1, max_length=200, pattern=_STORABLE)]
_Url = Annotated[str, Meta(max_length=MAX_URL_LENGTH, pattern=IMAGE_URL)]


class _Season(msgspec.Struct):
    season: Literal["SPRING", "SUMMER", "FALL", "WINTER", "UNDEFINED"] = "UNDEFINED"
    year: Annotated[int, Meta(ge=1907, le=9999)] | None = None


class _Duration(msgspec.Struct):
    value: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
    unit: Literal["SECONDS"]


class _Score(msgspec.Struct, rename="camel"):
    arithmetic_geometric_mean: Annotated[float, Meta(ge=1, le=10)]


class _Airing(msgspec.Struct, rename="camel"):
    episode: Annotated[int, Meta(ge=1, le=MAX_EPISODES)]
    airing_at: Annotated[int, Meta(ge=0, lt=YEAR_10000)]


class Entry(msgspec.Struct, rename="camel"):
    """An anime in the file. Other keys are ignored; `airingSchedule` is an addition, with AniList's names."""

    sources: Annotated[list[Annotated[str, Meta(max_length=500)]], Meta(min_length=1, max_length=100)]
    title: Annotated[str, Meta(max_length=255, pattern=r"\S")]
    type: Literal["TV", "MOVIE", "OVA", "ONA", "SPECIAL", "UNKNOWN"]
    episodes: Annotated[int, Meta(ge=0, le=MAX_EPISODES)]
    status: Literal["FINISHED", "ONGOING", "UPCOMING", "UNKNOWN"]
    anime_season: _Season = msgspec.field(default_factory=_Season)
    picture: _Url | None = None
    thumbnail: _Url | None = None
    duration: _Duration | None = None
    score: _Score | None = None
    synonyms: list[_Name] = []
    studios: list[_Name] = []
    tags: list[_Tag] = []
    airing_schedule: Annotated[list[_Airing], Meta(max_length=MAX_EPISODES)] = []

    def columns(self) -> dict[str, Any]:
        """Return the columns of `anime`. Raises ValueError for a text that the database can't store."""
        season = self.anime_season.season
        columns = {
            "title": self.title.strip(),
            "type": self.type,
            "status": self.status,
            "episode_count": self.episodes or None,
            "season": None if season == "UNDEFINED" else season,
            "year": self.anime_season.year,
            "poster": self.picture,
            "thumbnail": self.thumbnail,
            "duration_seconds": (self.duration.value or None) if self.duration else None,
            "score": self.score.arithmetic_geometric_mean if self.score else None,
            "synonyms": list(dict.fromkeys(self.synonyms)),
            "studios": list(dict.fromkeys(self.studios)),
            "genres": list(dict.fromkeys(tag.lower() for tag in self.tags)),
        }
        for name, value in columns.items():
            texts = value if isinstance(value, list) else [value]
            if any(isinstance(text, str) and "\0" in text for text in texts):
                raise ValueError(f"there is a NUL character in `{name}`")
        return columns

    def airing(self) -> list[tuple[int, int]]:
        """Return the numbers of episodes and when they air, in Unix seconds."""
        return list({each.episode: each.airing_at for each in self.airing_schedule}.items())

    def ids(self) -> list[tuple[str, str]]:
        """Return provider and id of each source. Raises ValueError for a source that is not a URL."""
        if any("\0" in source for source in self.sources):
            raise ValueError("there is a NUL character in `sources`")
        return list(dict.fromkeys(map(parse_source, self.sources)))


BLANK = Entry(["https://example.org"], "blank", "UNKNOWN", 0, "UNKNOWN").columns() | {"title": None, "status": None}
"""The columns of an entry without values."""


_OPTIONAL = {field.encode_name for field in msgspec.structs.fields(Entry) if not field.required}
_PLACE = re.compile(r"(\w+)(?:\[([0-9]+)\])?")


def without_wrong_values(raw: Any) -> tuple[Entry, list[str]]:
    """Return an entry without its optional values that are wrong, and what is wrong with each.

    Raises ValidationError when a required value is wrong.
    """
    remarks: list[str] = []
    while True:
        try:
            return msgspec.convert(raw, Entry), remarks
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$.")
            place = _PLACE.match(path)
            if place is None or place[1] not in _OPTIONAL:
                raise
            name, values = place[1], raw[place[1]]
            raw = {key: value for key, value in raw.items() if key != name}
            if place[2] and isinstance(values, list) and len(remarks) < MAX_REMARKS:
                at = int(place[2])
                raw[name] = [*values[:at], *values[at + 1 :]]
            remarks.append(f"`{path.strip('`')}` was left out: {message}")


def parse_source(url: str) -> tuple[str, str]:
    """Return provider and id, or host and URL for an unknown site. Raises ValueError unless it is an http(s) URL."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.")
    except ValueError:
        host = ""
    fits = len(host) <= MAX_HOST and len(url.encode()) <= MAX_SOURCE_BYTES
    if not host or not fits or parts.scheme not in {"http", "https"} or re.search(r"\s", url):
        raise ValueError(f"the source {url[:100]!r} is not a URL")
    provider, pattern = _PATTERNS.get(host, (host, None))
    if pattern and (found := pattern.fullmatch(parts.path + (f"?{parts.query}" if parts.query else ""))):
        return provider, str(int(found[1])) if "[0-9]+" in pattern.pattern else found[1]
    return host, url
