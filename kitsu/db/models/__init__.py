"""The tables. Importing this package registers all of them with the metadata."""

from kitsu.db.models.anime import Anime, ExternalId
from kitsu.db.models.auth_sessions import AuthSession, RefreshToken
from kitsu.db.models.catalogue_imports import CatalogueImport
from kitsu.db.models.episodes import Episode
from kitsu.db.models.rate_limits import RateLimit
from kitsu.db.models.releases import Release
from kitsu.db.models.users import User

__all__ = [
    "Anime",
    "AuthSession",
    "CatalogueImport",
    "Episode",
    "ExternalId",
    "RateLimit",
    "RefreshToken",
    "Release",
    "User",
]
