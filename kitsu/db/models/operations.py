"""The tables of operations: runs of commands, and files of the media store without a user."""

from advanced_alchemy.base import DefaultBase
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CurrentTimestamp, Timestamp


class CommandRun(DefaultBase):
    """The last successful run of a command."""

    __tablename__ = "command_runs"

    command: Mapped[str] = mapped_column(String(32), primary_key=True)
    ended_at: Mapped[Timestamp]


class StrayFile(DefaultBase):
    """A file that is being stored, replaced or removed. An old row was interrupted; `kitsu purge` finishes its work."""

    __tablename__ = "stray_files"

    path: Mapped[str] = mapped_column(String(255), primary_key=True)  # as in `users.avatar`
    since: Mapped[CurrentTimestamp]
