"""The history of the catalogue: who changed what, how it is reverted, and which fields imports leave alone."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import Text, Uuid, bindparam, delete, func, literal_column, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import JSONB

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.anime import Anime
from kitsu.domain.catalogue.constraints import catalogue_constraints
from kitsu.domain.catalogue.editing import AnimeService, edit_as
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, columns_of
from kitsu.domain.pagination import Listing, Page, PageRequest, ascending, descending
from kitsu.domain.versions import Expected
from kitsu.errors import Conflict, NotFound

Source = Annotated[
    Literal["edit", "revert", "merge", "undo", "split", "import", "database"],
    Meta(title="ChangeSource", description="What made the change; `undo` of a merge, `database` is another program."),
]
Entity = Annotated[
    Literal["anime", "release", "episode", "external_id"],
    Meta(title="ChangedEntity", description="The kind of what changed."),
]
Action = Annotated[Literal["create", "update", "delete"], Meta(title="ChangeAction", description="What was done.")]
EntityId = Annotated[str, described("The id of what changed; `<provider>:<id>` of an external id.", "anilist:1535")]
ImportedField = Literal[
    "title",
    "type",
    "status",
    "episode_count",
    "season",
    "year",
    "poster",
    "thumbnail",
    "duration_seconds",
    "score",
    "synonyms",
    "studios",
    "genres",
]
"""The fields that imports write."""


class FieldChange(msgspec.Struct):
    """The values of a field, null if it had or has none."""

    before: Annotated[Any, described("The value before the change.", 2005)]
    after: Annotated[Any, described("The value after the change.", 2006)]


Fields = Annotated[
    dict[str, FieldChange],
    described("By name. An anime that an import created has none.", {"year": {"before": 2005, "after": 2006}}),
]


class CatalogueChange(msgspec.Struct):
    """A change of an anime, of one of its releases or episodes, or of an external id."""

    id: Annotated[int, described("Grows with each change.", 7654322)]
    change_set: Annotated[int, described("Changes that were made together have the same number.", 7654321)]
    made_at: Annotated[datetime, described("When it was made.")]
    source: Source
    by: Annotated[str | None, described("The name of the user who made it, if there still is one.", "kaguya")]
    entity: Entity
    entity_id: EntityId
    action: Action
    fields: Fields


class Disagreement(msgspec.Struct):
    """An edited field whose value differs from that of the last import."""

    anime_id: UUID
    title: Annotated[str, described("The title of the anime.", "Death Note")]
    field: Annotated[str, described("The name of the field.", "year")]
    value: Annotated[Any, described("The edited value.", 2005)]
    imported: Annotated[Any, described("The value of the last import.", 2006)]


_change, _anime, _import = models.CatalogueChange, models.Anime, models.CatalogueImport
_ID: Any = bindparam("anime_id", type_=Uuid)
_CHANGES: Rows = (
    select(*columns_of(CatalogueChange, _change, by=models.User.username))
    .outerjoin(models.User, models.User.id == _change.user_id)
    .where(_change.anime_id == _ID)
)
_HISTORY = Listing(
    CatalogueChange, _CHANGES, descending(_change.id), counted=select(_change.id).where(_change.anime_id == _ID)
)
_EDITED: Rows = select(_anime.edited_fields).where(_anime.id == _ID)
_EXISTS: Rows = select(
    or_(select(_anime.id).where(_anime.id == _ID).exists(), select(_change.id).where(_change.anime_id == _ID).exists())
)

_field: Any = func.unnest(_anime.edited_fields, type_=Text).column_valued("field")
_value = func.to_jsonb(literal_column("anime"), type_=JSONB)[_field]
_DIFFERS = (text("cardinality(edited_fields) > 0"), _value != _import.fields[_field])
_DISAGREEMENTS = Listing(
    Disagreement,
    select(
        _anime.id.label("anime_id"),
        _anime.title,
        _field,
        _value.label("value"),
        _import.fields[_field].label("imported"),
    )
    .join(_import, _import.anime_id == _anime.id)
    .where(*_DIFFERS),
    ascending(_anime.id),
    ascending(_field),
    counted=select(_anime.id).join(_import, _import.anime_id == _anime.id).where(*_DIFFERS),
)

# What the values before a change are written with: all columns that the change names, and no others.
_TABLES = {"anime": "anime", "release": "releases", "episode": "episodes", "external_id": "external_ids"}
_NOW_OTHER = """
    SELECT string_agg(key, ', ' ORDER BY key) FROM {table}, jsonb_each(CAST(:fields AS jsonb))
    WHERE id = CAST(:id AS uuid) AND coalesce(to_jsonb({table})->key, 'null') <> value->'after'
"""
_UNDO_UPDATE = """
    UPDATE {table} SET ({columns}) = (SELECT {columns} FROM jsonb_populate_record({table}, CAST(:values AS jsonb)))
    WHERE id = CAST(:id AS uuid)
"""
_UNDO_DELETE = """
    INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{table}, CAST(:values AS jsonb))
"""


class HistoryReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def page(self, anime_id: UUID, request: PageRequest, *, is_known: bool = False) -> Page[CatalogueChange]:
        """Return the changes of an anime, newest first; also of a deleted one. Raises NotFound unless it is known."""
        if not is_known and not await self._runner.value(_EXISTS, {"anime_id": anime_id}):
            raise NotFound("Anime not found")
        return await _HISTORY.page(self._runner, {"anime_id": anime_id}, request)

    async def edited_fields(self, anime_id: UUID) -> list[str]:
        """Return the names of the fields that imports leave alone."""
        return await self._runner.value(_EDITED, {"anime_id": anime_id}) or []

    async def disagreements(self, request: PageRequest) -> Page[Disagreement]:
        """Return the edited fields whose value differs from that of the last import."""
        return await _DISAGREEMENTS.page(self._runner, {}, request)


class HistoryService(AnimeService):
    """Reverts changes, and gives fields back to the import."""

    async def revert(self, editor_id: UUID, anime_id: UUID, change_id: int) -> Anime:
        """Undo all that was changed together with a change of this anime. Raises NotFound, Conflict."""
        session = self.repository.session
        await edit_as(session, editor_id, source="revert")
        # One edit of an anime at a time; a deleted anime has no row to lock.
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(str(anime_id), 0))))
        await self.get_one_or_none(id=anime_id, with_for_update=True)
        of_anime = _change.anime_id == anime_id
        wanted = select(_change.change_set, _change.made_at).where(_change.id == change_id, of_anime)
        together = tuple_(_change.change_set, _change.made_at).in_(wanted)
        changes = select(_change).where(of_anime, together).order_by(_change.id.desc())
        found = (await session.scalars(changes)).all()
        if not found:
            raise NotFound("Change not found")
        if found[0].source in ("merge", "undo", "split"):
            raise Conflict("Merges are undone as a whole, and splits by a merge")
        for change in found:
            with catalogue_constraints():
                await self._undo(change)
        await session.execute(update(_anime).where(_anime.id == anime_id).values(updated_at=func.now()))
        return await self._committed(anime_id)

    async def give_back(
        self, editor_id: UUID, anime_id: UUID, field: ImportedField, expected: Expected | None = None
    ) -> Anime:
        """Take the imported value of an edited field, and those of later imports.

        Raises NotFound, PreconditionFailed.
        """
        session = self.repository.session
        await edit_as(session, editor_id, source="import")
        row = await self._locked(anime_id, expected)
        if field not in row.edited_fields:
            raise NotFound("Field is not edited")
        imported = await session.get(_import, row.id)
        if imported is not None:
            setattr(row, field, imported.fields[field])
        row.edited_fields = [name for name in row.edited_fields if name != field]
        await session.flush()
        return await self._committed(row.id)

    async def _undo(self, change: models.CatalogueChange) -> None:
        session, table = self.repository.session, _TABLES[change.entity]
        values = {name: each["before"] for name, each in change.fields.items()}
        columns = ", ".join(name for name in values if name in models.Anime.metadata.tables[table].columns)
        key = {"id": change.entity_id}
        encoded = {"values": msgspec.json.encode(values).decode()}
        if change.action == "delete":
            await session.execute(text(_UNDO_DELETE.format(table=table, columns=columns)), encoded)
        elif change.entity == "external_id":
            provider, _, external_id = change.entity_id.partition(":")
            row = (models.ExternalId.provider == provider, models.ExternalId.external_id == external_id)
            await session.execute(delete(models.ExternalId).where(*row))
        elif change.action == "create":
            raise Conflict("Delete what was created instead")
        else:
            fields = msgspec.json.encode(change.fields).decode()
            other = await session.scalar(text(_NOW_OTHER.format(table=table)), {**key, "fields": fields})
            if other:
                raise Conflict(f"Changed again since: {other}")
            await session.execute(text(_UNDO_UPDATE.format(table=table, columns=columns)), {**key, **encoded})
