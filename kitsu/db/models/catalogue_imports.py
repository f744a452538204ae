"""What the last import said of an anime, to tell an editor's change from an old value at the next one."""

from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import Boolean, ForeignKey, Uuid, false
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column


class CatalogueImport(DefaultBase):
    """The values that an import last brought for an anime, and the release that it made."""

    __tablename__ = "catalogue_imports"

    anime_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("anime.id", ondelete="CASCADE"), primary_key=True)
    release_id: Mapped[UUID | None] = mapped_column(Uuid(), ForeignKey("releases.id", ondelete="SET NULL"), index=True)
    fields: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Column name of `anime` to value."""
    sample: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """It came with the sample catalogue; a real import takes it over."""
