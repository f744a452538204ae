"""The tables. Importing this package registers all of them with the metadata."""

from kitsu.db.models.accounts import AuthSession, RateLimit, RefreshToken, User
from kitsu.db.models.catalogue import Anime, CatalogueImport, Episode, ExternalId, Release
from kitsu.db.models.operations import CommandRun, StrayFile
from kitsu.db.models.viewer import (
    Collection,
    CollectionItem,
    Favorite,
    IdempotencyKey,
    LibraryEntry,
    Tombstone,
    View,
    WatchProgress,
)

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
