"""When the commands that an operator has run every day last did their work."""

from datetime import datetime

from advanced_alchemy.base import DefaultBase
from sqlalchemy import DateTime, String
from sqlalchemy.orm import Mapped, mapped_column


class CommandRun(DefaultBase):
    """The last run of a command that came to a good end."""

    __tablename__ = "command_runs"

    command: Mapped[str] = mapped_column(String(32), primary_key=True)
    ended_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
