"""The tables of second factors: TOTP, passkeys, recovery codes, and challenges that were answered."""

from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import BigInteger, Index, LargeBinary, String, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CurrentTimestamp, Entity, Timestamp, UserRef


class TotpFactor(DefaultBase):
    """The TOTP of a user. It counts from its confirmation on."""

    __tablename__ = "totp_factors"

    user_id: Mapped[UserRef] = mapped_column(primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    """A nonce and the secret, encrypted by AES-GCM."""
    created_at: Mapped[CurrentTimestamp]
    confirmed_at: Mapped[Timestamp | None]
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    """The time step of the last code: no code of it or of an earlier one is accepted again."""


class Passkey(Entity):
    """A passkey of a user: the public half of a key pair, whose private half stays in an authenticator."""

    __tablename__ = "passkeys"

    user_id: Mapped[UserRef] = mapped_column(index=True)
    credential_id: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    """In the form of COSE (RFC 9052)."""
    sign_count: Mapped[int] = mapped_column(BigInteger)
    """How often the authenticator has used it; 0: it does not count."""
    name: Mapped[str] = mapped_column(String(64))
    transports: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """How browsers reach the authenticator, such as `usb` or `internal`."""
    last_used_at: Mapped[Timestamp | None]


class RecoveryCode(DefaultBase):
    """An unused recovery code. Only its SHA-256 is stored."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[UserRef] = mapped_column(primary_key=True)
    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)


class SpentChallenge(DefaultBase):
    """A challenge that was answered, until it expires."""

    __tablename__ = "spent_challenges"

    id: Mapped[UUID] = mapped_column(Uuid(), primary_key=True)
    expires_at: Mapped[Timestamp]


Index("ix_spent_challenges_expires_at", SpentChallenge.expires_at)
