"""The tables. Importing this package registers all of them with the metadata."""

from kitsu.db.models.anime import Anime, ExternalId
from kitsu.db.models.catalogue_imports import CatalogueImport
from kitsu.db.models.episodes import Episode
from kitsu.db.models.releases import Release

__all__ = ["Anime", "CatalogueImport", "Episode", "ExternalId", "Release"]
