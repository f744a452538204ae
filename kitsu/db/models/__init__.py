"""The tables. Importing this package registers all of them with the metadata."""

from kitsu.db.models.accounts import AuthSession as AuthSession
from kitsu.db.models.accounts import RateLimit as RateLimit
from kitsu.db.models.accounts import RefreshToken as RefreshToken
from kitsu.db.models.accounts import User as User
from kitsu.db.models.catalogue import Anime as Anime
from kitsu.db.models.catalogue import AnimeMerge as AnimeMerge
from kitsu.db.models.catalogue import AnimeTitle as AnimeTitle
from kitsu.db.models.catalogue import CatalogueChange as CatalogueChange
from kitsu.db.models.catalogue import CatalogueImport as CatalogueImport
from kitsu.db.models.catalogue import Episode as Episode
from kitsu.db.models.catalogue import ExternalId as ExternalId
from kitsu.db.models.catalogue import ImportReview as ImportReview
from kitsu.db.models.catalogue import MergedRow as MergedRow
from kitsu.db.models.catalogue import Release as Release
from kitsu.db.models.catalogue import TitleWord as TitleWord
from kitsu.db.models.operations import CommandRun as CommandRun
from kitsu.db.models.operations import StrayFile as StrayFile
from kitsu.db.models.viewer import Collection as Collection
from kitsu.db.models.viewer import CollectionItem as CollectionItem
from kitsu.db.models.viewer import Favorite as Favorite
from kitsu.db.models.viewer import IdempotencyKey as IdempotencyKey
from kitsu.db.models.viewer import LibraryEntry as LibraryEntry
from kitsu.db.models.viewer import Tombstone as Tombstone
from kitsu.db.models.viewer import View as View
from kitsu.db.models.viewer import WatchProgress as WatchProgress
