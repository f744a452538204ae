"""What editors of the catalogue send: new anime, releases and episodes, and changes of them."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kitsu.db.columns import MAX_INTEGER
from kitsu.domain.catalogue.anime import AnimeType, Provider, Season
from kitsu.domain.fields import VISIBLE, described

MAX_EPISODES = 20_000
"""More is a mistake: the longest-running anime have some 8,000."""
_BLANK = r"\s\x1c-\x1f\x85\ufeff"  # Python and JavaScript, whose expressions JSON Schema has, differ about `\s`
IMAGE_URL = rf"^https?://[^{_BLANK}\"'<>]+\Z"  # browsers use it as the `src` of an image
MAX_URL_LENGTH = 2048

Title = Annotated[str, described("The main title.", "Death Note", min_length=1, max_length=255, pattern=VISIBLE)]
OtherTitle = Annotated[str, described("A title.", "デスノート", min_length=1, max_length=255, pattern=VISIBLE)]
Description = Annotated[str, described("The plot in a few sentences.", "A student finds …", max_length=20_000)]
Year = Annotated[int, described("The year it was first shown.", 2006, ge=1900, le=9999)]
Status = Annotated[
    Literal["FINISHED", "ONGOING", "UPCOMING", "UNKNOWN"], Meta(title="AnimeStatus", description="Whether it is shown.")
]
EpisodeCount = Annotated[int, described("The number of episodes.", 37, ge=1, le=MAX_EPISODES)]
Duration = Annotated[int, described("The length of one episode.", 1380, ge=1, le=MAX_INTEGER)]
Score = Annotated[float, described("The average score of other catalogues.", 8.71, ge=1, le=10)]
Url = Annotated[
    str,
    described(
        "URL of a picture.", "https://pictures.example.org/1535.jpg", max_length=MAX_URL_LENGTH, pattern=IMAGE_URL
    ),
]
Name = Annotated[str, described("A name.", "madhouse", min_length=1, max_length=200, pattern=VISIBLE)]
Genres = Annotated[list[Name], described("Stored in lower case.", ["mystery"], max_length=200)]
Studios = Annotated[list[Name], described("The studios.", ["madhouse"], max_length=200)]
Titles = Annotated[list[OtherTitle], described("Other titles.", ["DN"], max_length=200)]
ExternalId = Annotated[
    str, described("The id at the provider.", "1535", min_length=1, max_length=200, pattern=rf"^[^{_BLANK}]+\Z")
]
Number = Annotated[int, described("The number in the release, from 1.", 1, ge=1, le=MAX_INTEGER)]
AirsAt = Annotated[datetime, described("When it is or was first shown.", tz=True)]


class NewAnime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An anime to create."""

    title: Title
    title_original: OtherTitle | None = None
    description: Description | None = None
    year: Year | None = None
    status: Status | None = None
    type: AnimeType = "UNKNOWN"
    season: Season | None = None
    episode_count: EpisodeCount | None = None
    duration_seconds: Duration | None = None
    score: Score | None = None
    poster: Url | None = None
    thumbnail: Url | None = None
    synonyms: Titles = []
    genres: Genres = []
    studios: Studios = []
    external_ids: Annotated[dict[Provider, ExternalId], described("The id at each provider.", {"anilist": "1535"})] = {}


class AnimeChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of an anime. Omitted fields keep their value, and so do omitted providers in `external_ids`."""

    title: Title | UnsetType = UNSET
    title_original: OtherTitle | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    year: Year | UnsetType | None = UNSET
    status: Status | UnsetType | None = UNSET
    type: AnimeType | UnsetType = UNSET
    season: Season | UnsetType | None = UNSET
    episode_count: EpisodeCount | UnsetType | None = UNSET
    duration_seconds: Duration | UnsetType | None = UNSET
    score: Score | UnsetType | None = UNSET
    poster: Url | UnsetType | None = UNSET
    thumbnail: Url | UnsetType | None = UNSET
    synonyms: Titles | UnsetType = UNSET
    genres: Genres | UnsetType = UNSET
    studios: Studios | UnsetType = UNSET
    external_ids: (
        Annotated[
            dict[Provider, ExternalId | None],
            described("The id at each provider; null removes it.", {"anilist": "1535"}),
        ]
        | UnsetType
    ) = UNSET


class NewRelease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A release to create."""

    anime_id: UUID
    title: Title
    year: Year | None = None
    status: Status | None = None
    episode_count: Annotated[int, described("How many episodes to create, from 1.", 12, ge=0, le=MAX_EPISODES)] = 0


class ReleaseChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of a release. Omitted fields keep their value."""

    title: Title | UnsetType = UNSET
    year: Year | UnsetType | None = UNSET
    status: Status | UnsetType | None = UNSET


class NewEpisode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An episode to create."""

    release_id: UUID
    number: Number
    title: OtherTitle | None = None
    airs_at: AirsAt | None = None


class EpisodeChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of an episode. Omitted fields keep their value."""

    number: Number | UnsetType = UNSET
    title: OtherTitle | UnsetType | None = UNSET
    airs_at: AirsAt | UnsetType | None = UNSET


class Deletion(msgspec.Struct, kw_only=True):
    """How many rows a deletion takes, those of viewers included."""

    releases: Annotated[int, described("Releases of the anime.", 1)] = 0
    episodes: Annotated[int, described("Episodes of the releases.", 12)] = 0
    favorites: Annotated[int, described("Favourites of viewers.", 40)] = 0
    watch_progress: Annotated[int, described("Viewers' watch progress.", 65)] = 0
    views: Annotated[int, described("Episodes in viewers' histories.", 310)] = 0
    library_entries: Annotated[int, described("Entries of viewers' libraries.", 52)] = 0
    collection_items: Annotated[int, described("Anime in collections.", 3)] = 0
