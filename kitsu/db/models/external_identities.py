"""The tables of signing in with other services: the identities of users there, and the flows in progress."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import Entity, Timestamp, UserRef


class ExternalIdentity(Entity):
    """The user of an OpenID provider, who is a user here."""

    __tablename__ = "external_identities"
    __table_args__ = (UniqueConstraint("issuer", "subject", name="uq_external_identities_issuer"),)

    user_id: Mapped[UserRef] = mapped_column(index=True)
    provider: Mapped[str] = mapped_column(String(64))
    """Its name when the identity was linked."""
    issuer: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(String(255))
    email: Mapped[str | None] = mapped_column(Text)
    """At the provider, when the identity was linked."""


class OIDCFlow(Entity):
    """A sign-in in progress: first until the provider sends the browser back, then until the front end has tokens."""

    __tablename__ = "oidc_flows"

    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the state, then of the one-time code."""
    browser_hash: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the cookie."""
    provider: Mapped[str] = mapped_column(String(64))
    redirect_to: Mapped[str] = mapped_column(Text)
    user_id: Mapped[UUID | None] = mapped_column(Uuid(), ForeignKey("users.id", ondelete="CASCADE"), index=True)
    """The signed-in user who links the provider."""
    session_id: Mapped[UUID | None] = mapped_column(Uuid())
    """The session of that user, which must not end before the provider is linked."""
    claims: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """What the provider says about the user, with the one-time code; null with the state."""
    expires_at: Mapped[Timestamp]


Index("ix_oidc_flows_expires_at", OIDCFlow.expires_at)
