"""An entry of the file: its schema, and its values as columns of the catalogue."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kitsu.domain.catalogue.importing.sources import parse_source

MAX_EPISODES = 20_000
"""More is a mistake: the longest-running anime have some 8,000."""
INT_MAX = 2**31 - 1

_Name = Annotated[str, Meta(min_length=1, max_length=1000)]
# The longest text that fits a key of an index in any script.
_Tag = Annotated[str, Meta(min_length=1, max_length=200)]
# Browsers use it as the `src` of an image.
_Url = Annotated[str, Meta(max_length=2048, pattern=r"^https?://[^\s\"'<>]+\Z")]


class _Season(msgspec.Struct):
    season: Literal["SPRING", "SUMMER", "FALL", "WINTER", "UNDEFINED"] = "UNDEFINED"
    year: Annotated[int, Meta(ge=1907, le=9999)] | None = None


class _Duration(msgspec.Struct):
    value: Annotated[int, Meta(ge=0, le=INT_MAX)]
    unit: Literal["SECONDS"]


class _Score(msgspec.Struct, rename="camel"):
    arithmetic_geometric_mean: Annotated[float, Meta(ge=1, le=10)]


class Entry(msgspec.Struct, rename="camel"):
    """An anime in the file. Other keys are ignored."""

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

    def ids(self) -> list[tuple[str, str]]:
        """Return provider and id of each source. Raises ValueError for a source that is no URL."""
        if any("\0" in source for source in self.sources):
            raise ValueError("there is a NUL character in `sources`")
        return list(dict.fromkeys(map(parse_source, self.sources)))


BLANK = Entry(["https://example.org"], "blank", "UNKNOWN", 0, "UNKNOWN").columns() | {"title": None, "status": None}
"""The columns of an entry without values."""
