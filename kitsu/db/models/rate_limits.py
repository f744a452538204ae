"""How often something was tried lately."""

from datetime import datetime

from advanced_alchemy.base import DefaultBase
from sqlalchemy import DateTime, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column


class RateLimit(DefaultBase):
    """A counter of one window, which begins with the first hit."""

    __tablename__ = "rate_limits"

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """A hash of what is counted: no address and no e-mail stands here."""
    hits: Mapped[int]
    ends_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


Index("ix_rate_limits_ends_at", RateLimit.ends_at)
