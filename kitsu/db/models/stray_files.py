"""Files of the media store that nobody needs, or may not need: noted before they can be left over."""

from datetime import datetime

from advanced_alchemy.base import DefaultBase
from sqlalchemy import DateTime, String, func
from sqlalchemy.orm import Mapped, mapped_column


class StrayFile(DefaultBase):
    """A file about to be stored, replaced or removed. A row that stays was interrupted; `kitsu purge` ends its work."""

    __tablename__ = "stray_files"

    path: Mapped[str] = mapped_column(String(255), primary_key=True)
    """As in `users.avatar`."""
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
