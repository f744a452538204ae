"""Access tokens: short-lived JWTs of one purpose, valid while their session is."""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

import jwt
import msgspec

from kitsu.errors import Unauthorized

LEEWAY_SECONDS = 10
CACHE_SIZE = 10_000  # tokens whose signature was verified, 1 KB each


class Claims(msgspec.Struct, frozen=True):
    """User and session of a token. Whether the session is still active is not known."""

    user_id: UUID
    session_id: UUID
    expires_at: float


class AccessTokens:
    """Issues and reads access tokens of a purpose: tokens of one purpose are invalid for any other."""

    def __init__(self, *, secret_key: str, algorithm: str, minutes: int, purpose: str = "access") -> None:
        self._key = secret_key
        self._purpose = purpose
        self._algorithm = algorithm
        self._lifetime = timedelta(minutes=minutes)
        self.seconds = minutes * 60
        """The lifetime of a token."""
        # A client sends its token with each request. Invalid tokens raise, and so are not cached.
        self._verified = lru_cache(maxsize=CACHE_SIZE)(self._verify)

    def issue(self, user_id: UUID, session_id: UUID) -> str:
        now = datetime.now(UTC)
        claims = {"sub": str(user_id), "sid": str(session_id), "jti": uuid4().hex, "typ": self._purpose}
        return jwt.encode({**claims, "iat": now, "exp": now + self._lifetime}, self._key, self._algorithm)

    def read(self, token: str) -> Claims:
        """Return the claims of a token. Raises Unauthorized if it is invalid or expired."""
        try:
            claims = self._verified(token)
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            raise Unauthorized from None
        if time.time() >= claims.expires_at + LEEWAY_SECONDS:
            raise Unauthorized
        return claims

    def _verify(self, token: str) -> Claims:
        claims: dict[str, Any] = jwt.decode(
            token,
            self._key,
            algorithms=[self._algorithm],
            leeway=LEEWAY_SECONDS,
            options={
                "require": ["exp", "iat", "sub", "jti", "sid", "typ"],
                # Another machine may have issued the token, and its clock may be ahead.
                "verify_iat": False,
                "verify_aud": False,
                "verify_iss": False,
            },
        )
        if claims["typ"] != self._purpose:
            raise jwt.InvalidTokenError
        return Claims(UUID(claims["sub"]), UUID(claims["sid"]), float(claims["exp"]))
