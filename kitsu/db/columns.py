"""Columns that several tables have. Ids are UUID v7, made here and not by the database: they grow with time.

Each key of a table of viewers contains `user_id`, so that the rows can be distributed by user (docs/scaling.md).
"""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import DateTime, ForeignKey, Uuid, func
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

MAX_INTEGER = 2**31 - 1  # of a column of PostgreSQL's type integer

Timestamp = Annotated[datetime, mapped_column(DateTime(timezone=True))]
CurrentTimestamp = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]

Id = Annotated[UUID, mapped_column(Uuid())]  # without a reference: the row may be gone
# Rows are deleted with their user or anime. `user_id` has no index of its own: it comes first in another index.
UserRef = Annotated[UUID, mapped_column(Uuid(), ForeignKey("users.id", ondelete="CASCADE"))]
AnimeRef = Annotated[UUID, mapped_column(Uuid(), ForeignKey("anime.id", ondelete="CASCADE"), index=True)]


class Entity(DefaultBase):
    """A table whose rows have an id and the time of their creation."""

    __abstract__ = True

    id: Mapped[UUID] = mapped_column(Uuid(), primary_key=True, default=uuid7, sort_order=-1)
    created_at: Mapped[CurrentTimestamp]


class UserRow(DefaultBase):
    """A table of rows of users, whose key is the user and what a row is about. The row has an id beside it."""

    __abstract__ = True

    id: Mapped[UUID] = mapped_column(Uuid(), default=uuid7, sort_order=-1)
    user_id: Mapped[UserRef]
    created_at: Mapped[CurrentTimestamp]


class UserEntity(DefaultBase):
    """A table of rows of users, whose key is the user and the row's id."""

    __abstract__ = True

    user_id: Mapped[UserRef] = mapped_column(primary_key=True, sort_order=-2)
    id: Mapped[UUID] = mapped_column(Uuid(), primary_key=True, default=uuid7, sort_order=-1)
    created_at: Mapped[CurrentTimestamp]
