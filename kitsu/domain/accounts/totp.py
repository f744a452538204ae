"""TOTP (RFC 6238): secrets, which are stored encrypted, and their codes, which are accepted once."""

import re
import time
from datetime import datetime, timedelta
from hmac import compare_digest, digest
from secrets import token_bytes
from uuid import UUID

import pyotp
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import DateTime, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import TotpFactor

STEP_SECONDS = 30
DRIFT_STEPS = 1  # in which the clock of a device may differ, either way
NONCE_BYTES = 12
SET_UP_TIME = timedelta(hours=1)
"""The time in which a new secret can be confirmed."""
CODE = re.compile("[0-9]{6}")

log = structlog.get_logger("kitsu.security")
_clock = func.clock_timestamp(type_=DateTime(timezone=True))


class TotpVault:
    """Stores the secrets, encrypted with a key that is derived from the secret key and bound to the user."""

    def __init__(self, secret_key: str) -> None:
        self._cipher = AESGCM(digest(secret_key.encode(), b"encryption of TOTP secrets", "sha256"))

    async def start(self, session: AsyncSession, user_id: UUID) -> str:
        """Store a new secret, which counts once it is confirmed, and return it."""
        secret = pyotp.random_base32()
        nonce = token_bytes(NONCE_BYTES)
        values = {
            "secret": nonce + self._cipher.encrypt(nonce, secret.encode(), user_id.bytes),
            "created_at": _clock,
            "confirmed_at": None,
            "last_step": None,
        }
        statement = insert(TotpFactor).values(user_id=user_id, **values)
        await execute_core(session, statement.on_conflict_do_update(index_elements=["user_id"], set_=values))
        return secret

    async def use(self, session: AsyncSession, user_id: UUID, code: str, *, confirms: bool = False) -> bool:
        """Use a code up, in the caller's transaction, and return whether it was right.

        With `confirms` it must be the first code of a new secret, otherwise the TOTP must be confirmed.
        """
        is_confirmed = TotpFactor.confirmed_at.is_not(None)
        is_new = and_(~is_confirmed, TotpFactor.created_at > _clock - SET_UP_TIME)
        is_wanted = (TotpFactor.user_id == user_id, is_new if confirms else is_confirmed)
        stored = (await execute_core(session, select(TotpFactor.secret).where(*is_wanted))).scalar_one_or_none()
        step = stored and self._step_of(user_id, stored, code)
        if not step:
            return False
        # The database decides: of two requests with one code, one finds the row.
        is_unused = or_(TotpFactor.last_step.is_(None), TotpFactor.last_step < step)
        values = {"last_step": step} | ({"confirmed_at": _clock} if confirms else {})
        statement = update(TotpFactor).where(*is_wanted, TotpFactor.secret == stored, is_unused)
        return (await execute_core(session, statement.values(values))).rowcount == 1

    def _step_of(self, user_id: UUID, stored: bytes, code: str) -> int | None:
        """Return the time step near now whose code this is."""
        if not CODE.fullmatch(code):
            return None
        nonce, encrypted = stored[:NONCE_BYTES], stored[NONCE_BYTES:]
        try:
            generator = pyotp.TOTP(self._cipher.decrypt(nonce, encrypted, user_id.bytes).decode())
        except InvalidTag:
            reason = "SECRET_KEY has changed"
            log.error("TOTP secret unreadable", user_id=str(user_id), reason=reason)  # noqa: TRY400 - the cause is known
            return None
        now = int(time.time()) // STEP_SECONDS
        steps = range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1)
        right = [step for step in steps if compare_digest(generator.at(step * STEP_SECONDS), code)]
        return right[-1] if right else None


async def confirmed_since(session: AsyncSession, user_id: UUID) -> datetime | None:
    """Return since when a user has TOTP."""
    found: datetime | None = await session.scalar(select(TotpFactor.confirmed_at).where(TotpFactor.user_id == user_id))
    return found


async def remove(session: AsyncSession, user_id: UUID) -> bool:
    """Delete the TOTP of a user, in the caller's transaction, and return whether there was one, confirmed or not."""
    return (await execute_core(session, delete(TotpFactor).where(TotpFactor.user_id == user_id))).rowcount == 1


def otpauth_uri(secret: str, name: str, issuer: str) -> str:
    """Return the URI that an authenticator app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=issuer)
