"""Columns that every table shares. Ids are made here, not by the database: UUID v7, so that they grow with time."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from sqlalchemy import DateTime, ForeignKey, Uuid, func
from sqlalchemy.orm import mapped_column
from uuid_utils.compat import uuid7

MAX_INTEGER = 2**31 - 1
"""Of a column of PostgreSQL's type integer."""

Id = Annotated[UUID, mapped_column(Uuid(), primary_key=True, default=uuid7, sort_order=-1)]
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
UpdatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now(), onupdate=func.now())]

# Rows of a user's own go with the user, and with the anime that they are about. The user comes first in an index that
# each such table has anyway.
UserRef = Annotated[UUID, mapped_column(Uuid(), ForeignKey("users.id", ondelete="CASCADE"))]
AnimeRef = Annotated[UUID, mapped_column(Uuid(), ForeignKey("anime.id", ondelete="CASCADE"), index=True)]
