"""The tables of operations: runs of commands, and files of the media store without a user."""

from datetime import datetime

from advanced_alchemy.base import DefaultBase
from sqlalchemy import DateTime, String, func
from sqlalchemy.orm import Mapped, mapped_column


class CommandRun(DefaultBase):
    """The last run of a command that came to a good end."""

    __tablename__ = "command_runs"

    command: Mapped[str] = mapped_column(String(32), primary_key=True)
    ended_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class StrayFile(DefaultBase):
    """A file about to be stored, replaced or removed. A row that stays was interrupted; `kitsu purge` ends its work."""

    __tablename__ = "stray_files"

    path: Mapped[str] = mapped_column(String(255), primary_key=True)
    """As in `users.avatar`."""
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
