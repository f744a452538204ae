"""Exports: all data of a user as JSON, and the library as JSON, CSV or the XML that MyAnimeList imports."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import and_, case, exists, func, select

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.external_sign_in import SignInLink
from kitsu.domain.accounts.identities import IpAddress, UserAgent
from kitsu.domain.accounts.users import User, UserReader
from kitsu.domain.catalogue import history
from kitsu.domain.catalogue.anime import EXTERNAL_IDS, ExternalIds
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.domain.pagination import Listing, PageRequest, ascending
from kitsu.domain.viewer import collections, favorites, library, plays, views, watch_progress
from kitsu.domain.viewer.list_export import comma_separated, myanimelist
from kitsu.domain.viewer.list_import import runs
from kitsu.domain.viewer.list_import.entries import LibraryFields, ListEntry
from kitsu.domain.viewer.rows import USER_ID

T = TypeVar("T")

CHUNK_ROWS = 50  # rows that an export reads at once; a client that reads slowly keeps them in memory as JSON or XML


class ExportedSession(msgspec.Struct):
    """A session, active or ended."""

    id: UUID
    created_at: Annotated[datetime, described("When the user logged in.")]
    last_used_at: Annotated[datetime, described("When its tokens were last refreshed.")]
    expires_at: Annotated[datetime, described("When it ends without a refresh.")]
    revoked_at: Annotated[datetime | None, described("When it was ended.")]
    revoke_reason: Annotated[str | None, described("Why it was ended.", "logout")]
    user_agent: UserAgent | None
    ip: IpAddress | None


class ExportedLink(SignInLink):
    """A link of the account to a user of a provider."""

    issuer: Annotated[str, described("The address of the provider.", "https://accounts.example.org")]
    subject: Annotated[str, described("The id of the user there.", "248289761001")]


class ExportedItem(msgspec.Struct):
    """An anime in a collection."""

    collection_id: UUID
    anime_id: UUID
    title: Annotated[str, described("The title of the anime.", "Death Note")]
    position: Annotated[int, described("The place in the collection.", 0)]
    added_at: Annotated[datetime, described("When the anime was added.")]


class ExportedChange(msgspec.Struct):
    """A change of the catalogue that the user made."""

    id: Annotated[int, described("Grows with each change.", 7654322)]
    made_at: Annotated[datetime, described("When it was made.")]
    anime_id: UUID | None
    entity: history.Entity
    entity_id: history.EntityId
    action: history.Action
    fields: history.Fields


class AccountEntry(library.LibraryEntry):
    """A library entry with the ids of its anime, by which another installation finds the anime."""

    external_ids: ExternalIds


class AccountExport(msgspec.Struct):
    """All data that is stored about a user."""

    exported_at: Annotated[datetime, described("When the export began.")]
    user: User
    sessions: Annotated[list[ExportedSession], described("The sessions, also those that ended.")]
    sign_in_links: Annotated[list[ExportedLink], described("The providers with which the user can sign in.")]
    favorites: Annotated[list[favorites.Favorite], described("The favourites.")]
    watch_progress: Annotated[list[watch_progress.WatchProgress], described("The position in each anime.")]
    views: Annotated[list[views.View], described("How far each episode was watched.")]
    history: Annotated[list[plays.Play], described("Each time that an episode was watched to its end.")]
    library: Annotated[list[AccountEntry], described("The library.")]
    library_imports: Annotated[list[runs.LibraryImport], described("The last imports of lists.")]
    collections: Annotated[list[collections.Collection], described("The collections.")]
    collection_items: Annotated[list[ExportedItem], described("The anime of all collections.")]
    catalogue_changes: Annotated[list[ExportedChange], described("The changes of the catalogue by this user.")]


class ExportedEntry(msgspec.Struct):
    """A library entry, and the ids of its anime at other providers."""

    entry: library.LibraryEntry
    external_ids: ExternalIds


class LibraryExport(msgspec.Struct):
    """A whole library, sorted by title."""

    exported_at: Annotated[datetime, described("When the export began.")]
    entries: Annotated[list[ExportedEntry], described("The entries, sorted by title.")]


def _listing(kind: type[T] | Callable[[Any], T], rows: Rows, *keys: Any) -> Listing[T]:
    """Return a list for an export, sorted by columns that together are unique."""
    return Listing(kind, rows, *map(ascending, keys), counted=rows)


_session, _item, _collection = models.AuthSession, models.CollectionItem, models.Collection
_entry, _anime, _external = models.LibraryEntry, models.Anime, models.ExternalId
_change, _link = models.CatalogueChange, models.ExternalIdentity

_SESSIONS: Rows = select(*columns_of(ExportedSession, _session)).where(_session.user_id == USER_ID)
_LINKS: Rows = select(*columns_of(ExportedLink, _link)).where(_link.user_id == USER_ID)
_ITEMS: Rows = (
    select(*columns_of(ExportedItem, _item, title=_anime.title))
    .join(_collection, and_(_collection.user_id == _item.user_id, _collection.id == _item.collection_id))
    .join(_anime, _anime.id == _item.anime_id)
    .where(_collection.user_id == USER_ID)
)
_CHANGES: Rows = select(*columns_of(ExportedChange, _change)).where(_change.user_id == USER_ID)
_entry_of = mapper(library.LibraryEntry, library.ROWS)
_WITH_IDS = library.ROWS.add_columns(EXTERNAL_IDS.label("external_ids"))


def _account_entry(row: Any) -> AccountEntry:
    return AccountEntry(**msgspec.structs.asdict(_entry_of(row)), external_ids=row["external_ids"])


_LISTS: dict[str, Listing[Any]] = {
    "sessions": _listing(ExportedSession, _SESSIONS, _session.id),
    "sign_in_links": _listing(ExportedLink, _LINKS, _link.id),
    "favorites": _listing(favorites.Favorite, favorites.ROWS, models.Favorite.id),
    "watch_progress": _listing(watch_progress.WatchProgress, watch_progress.ROWS, models.WatchProgress.id),
    "views": _listing(views.View, views.ROWS, models.View.id),
    "history": _listing(plays.Play, plays.ROWS, models.Play.id),
    "library": _listing(_account_entry, _WITH_IDS, models.LibraryEntry.id),
    "library_imports": runs.LISTING,
    "collections": _listing(collections.Collection, collections.ROWS, _collection.id),
    "collection_items": _listing(ExportedItem, _ITEMS, _item.collection_id, _item.position, _item.anime_id),
    "catalogue_changes": _listing(ExportedChange, _CHANGES, _change.id),
}
# A title that changes meanwhile may move its entry out of the export, or into it twice.
_BY_TITLE = _listing(
    lambda row: ExportedEntry(_entry_of(row), row["external_ids"]), _WITH_IDS, _anime.title_key, _anime.id
)
_has_id = exists().where(_external.anime_id == _entry.anime_id, _external.provider == myanimelist.PROVIDER)
_status = case((_entry.is_rewatching, "completed"), else_=_entry.status)
_TOTALS = select(_status, _has_id, func.count()).where(_entry.user_id == USER_ID).group_by(_status, _has_id)


class Exporter:
    """Writes exports, some rows at a time. It holds no connection while the client reads."""

    def __init__(self, runner: StatementRunner, users: UserReader) -> None:
        self._runner = runner
        self._users = users

    async def account_json(self, user_id: UUID) -> AsyncIterator[bytes]:
        """Yield all data that is stored about a user, in pieces."""
        user = await self._users.detail(user_id)
        yield msgspec.json.encode({"exported_at": datetime.now(UTC), "user": user})[:-1]
        for name, listing in _LISTS.items():
            yield b',"%s":' % name.encode()
            async for piece in self._json_array(listing, user_id):
                yield piece
        yield b"}"

    async def library_json(self, user_id: UUID) -> AsyncIterator[bytes]:
        """Yield a LibraryExport in pieces."""
        yield msgspec.json.encode(LibraryExport(datetime.now(UTC), []))[: -len(b"[]}")]
        async for piece in self._json_array(_BY_TITLE, user_id):
            yield piece
        yield b"}"

    async def library_csv(self, user_id: UUID) -> AsyncIterator[bytes]:
        """Yield the library as CSV in pieces."""
        yield comma_separated.header()
        async for piece in self._encoded_rows(
            _BY_TITLE, user_id, lambda items: comma_separated.lines(map(_list_entry, items))
        ):
            yield piece

    async def library_xml(self, user_id: UUID) -> AsyncIterator[bytes]:
        """Yield the XML that MyAnimeList imports in pieces, with the anime that have an id there."""
        user = await self._users.detail(user_id)
        totals = await self._runner.rows(_TOTALS, {"user_id": user_id})
        left_out = sum(count for _, has_id, count in totals if not has_id)
        yield myanimelist.head(user.username, {status: n for status, has_id, n in totals if has_id}, left_out)
        async for piece in self._encoded_rows(_BY_TITLE, user_id, _myanimelist_entries):
            yield piece
        yield myanimelist.TAIL

    async def _json_array(self, listing: Listing[Any], user_id: UUID) -> AsyncIterator[bytes]:
        separator = b"["
        async for piece in self._encoded_rows(listing, user_id, lambda items: msgspec.json.encode(items)[1:-1]):
            yield separator + piece
            separator = b","
        yield b"]"

    async def _encoded_rows(
        self, listing: Listing[T], user_id: UUID, encode: Callable[[list[T]], bytes]
    ) -> AsyncIterator[bytes]:
        request: PageRequest | None = PageRequest(CHUNK_ROWS)
        while request:
            page = await listing.page(self._runner, {"user_id": user_id}, request)
            request = PageRequest(CHUNK_ROWS, cursor=page.cursor) if page.cursor else None
            piece = encode(page.items)
            del page
            yield piece


def _list_entry(item: ExportedEntry) -> ListEntry:
    entry = item.entry
    return ListEntry(
        number=0,
        title=entry.anime.title,
        ids=tuple(item.external_ids.items()),
        anime_id=entry.anime_id,
        year=entry.anime.year,
        updated_at=entry.updated_at,
        **{name: getattr(entry, name) for name in LibraryFields.__struct_fields__},
    )


def _myanimelist_entries(items: list[ExportedEntry]) -> bytes:
    pieces = []
    for item in items:
        entry, anime = _list_entry(item), item.entry.anime
        has_id = myanimelist.PROVIDER in item.external_ids
        pieces.append(
            myanimelist.element(entry, anime.type, anime.episode_count) if has_id else myanimelist.left_out(entry)
        )
    return b"".join(pieces)
