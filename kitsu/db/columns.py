"""Columns that every table shares. Ids are made here, not by the database: UUID v7, so that they grow with time."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from sqlalchemy import DateTime, Uuid, func
from sqlalchemy.orm import mapped_column
from uuid_utils.compat import uuid7

Id = Annotated[UUID, mapped_column(Uuid(), primary_key=True, default=uuid7, sort_order=-1)]
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
UpdatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now(), onupdate=func.now())]
