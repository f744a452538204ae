"""Challenges: signed, short-lived proofs that a user has passed a first step, each of which is answered once."""

from datetime import UTC, datetime, timedelta
from hmac import compare_digest, digest
from uuid import UUID, uuid4

import jwt
import msgspec
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import SpentChallenge
from kitsu.errors import Unauthorized

LIFETIME = timedelta(minutes=5)
INVALID = "The challenge is invalid or has expired"


class Challenge(msgspec.Struct, frozen=True):
    """What the text of a challenge contains."""

    id: UUID
    user_id: UUID
    binding: str
    expires_at: datetime


class Challenges:
    """Issues and reads challenges of a purpose: those of one purpose are invalid for any other."""

    def __init__(self, secret_key: str, algorithm: str, purpose: str) -> None:
        self._key, self._algorithm, self._purpose = secret_key, algorithm, purpose

    def issue(self, user_id: UUID, bound_to: str) -> str:
        """Return a challenge that ends when `bound_to`, such as the password's hash, changes."""
        claims = {"sub": str(user_id), "jti": str(uuid4()), "typ": self._purpose, "bnd": self._binding(bound_to)}
        return jwt.encode({**claims, "exp": datetime.now(UTC) + LIFETIME}, self._key, self._algorithm)

    def read(self, text: str) -> Challenge:
        """Return the content of a challenge. Raises Unauthorized if it is invalid or expired."""
        try:
            claims = jwt.decode(
                text, self._key, algorithms=[self._algorithm], options={"require": ["sub", "jti", "typ", "bnd", "exp"]}
            )
            if claims["typ"] != self._purpose:
                raise Unauthorized(INVALID)
            expires_at = datetime.fromtimestamp(claims["exp"], UTC)
            return Challenge(UUID(claims["jti"]), UUID(claims["sub"]), str(claims["bnd"]), expires_at)
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            raise Unauthorized(INVALID) from None

    def check(self, challenge: Challenge, bound_to: str) -> None:
        """Raise Unauthorized if what the challenge is bound to has changed."""
        if not compare_digest(challenge.binding, self._binding(bound_to)):
            raise Unauthorized(INVALID)

    def _binding(self, bound_to: str) -> str:
        return digest(self._key.encode(), f"{self._purpose} binding {bound_to}".encode(), "sha256").hex()


async def spend(session: AsyncSession, challenge: Challenge) -> None:
    """Use a challenge up, in the caller's transaction. Raises Unauthorized if another request has done so."""
    values = {"id": challenge.id, "expires_at": challenge.expires_at}
    if (await execute_core(session, insert(SpentChallenge).values(values).on_conflict_do_nothing())).rowcount == 0:
        raise Unauthorized(INVALID)
