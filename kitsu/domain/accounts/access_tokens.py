"""Access tokens: signed, short-lived, and good only as long as their session."""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

import jwt
import msgspec

LEEWAY_SECONDS = 10
KNOWN = 10_000
"""Tokens whose signature need not be checked again, 1 KB each."""
_REQUIRED = ("exp", "iat", "sub", "jti", "sid", "typ")


class Claims(msgspec.Struct, frozen=True):
    """Whom a token speaks for, as far as its signature goes."""

    user_id: UUID
    session_id: UUID


class AccessTokens:
    """Issues and reads access tokens, with one key and one algorithm."""

    def __init__(self, *, secret_key: str, algorithm: str, minutes: int) -> None:
        self._key = secret_key
        self._algorithm = algorithm
        self._lifetime = timedelta(minutes=minutes)
        # A token comes with each request of its device; what its signature says stays so. Refused ones are not kept.
        self._checked = lru_cache(maxsize=KNOWN)(self._check)

    def issue(self, user_id: UUID, session_id: UUID) -> str:
        """A new token of a session."""
        now = datetime.now(UTC)
        claims = {
            "sub": str(user_id),
            "sid": str(session_id),
            "jti": uuid4().hex,
            "typ": "access",
            "iat": now,
            "exp": now + self._lifetime,
        }
        return jwt.encode(claims, self._key, self._algorithm)

    def read(self, token: str) -> Claims | None:
        """The claims of a token that is genuine and not expired, else None."""
        try:
            claims, expires_at = self._checked(token)
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        return claims if time.time() < expires_at + LEEWAY_SECONDS else None

    def _check(self, token: str) -> tuple[Claims, float]:
        """The claims, and when they end. Raises errors of many kinds."""
        claims: dict[str, Any] = jwt.decode(
            token,
            self._key,
            algorithms=[self._algorithm],
            leeway=LEEWAY_SECONDS,
            options={"require": list(_REQUIRED), "verify_aud": False, "verify_iss": False},
        )
        if claims["typ"] != "access":
            raise jwt.InvalidTokenError
        return Claims(UUID(claims["sub"]), UUID(claims["sid"])), float(claims["exp"])
