"""The tables. Importing this package registers all of them with the metadata."""

from kitsu.db.models.anime import Anime, ExternalId
from kitsu.db.models.auth_sessions import AuthSession, RefreshToken
from kitsu.db.models.catalogue_imports import CatalogueImport
from kitsu.db.models.collections import Collection, CollectionItem
from kitsu.db.models.command_runs import CommandRun
from kitsu.db.models.episodes import Episode
from kitsu.db.models.favorites import Favorite
from kitsu.db.models.idempotency_keys import IdempotencyKey
from kitsu.db.models.library import LibraryEntry
from kitsu.db.models.rate_limits import RateLimit
from kitsu.db.models.releases import Release
from kitsu.db.models.stray_files import StrayFile
from kitsu.db.models.tombstones import Tombstone
from kitsu.db.models.users import User
from kitsu.db.models.views import View
from kitsu.db.models.watch_progress import WatchProgress

__all__ = [
    "Anime",
    "AuthSession",
    "CatalogueImport",
    "Collection",
    "CollectionItem",
    "CommandRun",
    "Episode",
    "ExternalId",
    "Favorite",
    "IdempotencyKey",
    "LibraryEntry",
    "RateLimit",
    "RefreshToken",
    "Release",
    "StrayFile",
    "Tombstone",
    "User",
    "View",
    "WatchProgress",
]
