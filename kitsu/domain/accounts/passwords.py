"""Passwords: their rules, hashes and checks, on threads of their own.

New hashes are argon2id. A database from before Kitsu has bcrypt over the hex SHA-256 of the password, in some rows over
the password itself. Both are accepted, and replaced at the next login.

Passwords are normalised (NFC), since keyboards and browsers send the same letters composed or decomposed.
"""

import re
import unicodedata
from hashlib import sha256
from typing import NamedTuple

from passlib.context import CryptContext
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from kitsu.domain.threads import Threads
from kitsu.errors import InvalidRequest

MIN_CHARACTERS = 8
MAX_BYTES = 1024
NO_PASSWORD = "!"  # noqa: S105 - no hash: each password is compared with that of an unknown user, and refused
"""The stored password of an account that a sign-in with a provider made."""
BCRYPT_BYTES = 72  # bcrypt ignores further bytes, and its library refuses them

_context = CryptContext(
    schemes=["argon2", "bcrypt"],
    deprecated=["bcrypt"],
    argon2__memory_cost=19_456,
    argon2__time_cost=2,
    argon2__parallelism=1,
)
_UNKNOWN_USER = _context.hash("the hash that is verified for an unknown user")
_HEX_SHA256 = re.compile("[0-9a-f]{64}")

COMMON = frozenset([word for word in FREQUENCY_LISTS["passwords"] if len(word) >= MIN_CHARACTERS][:3000])


class Verdict(NamedTuple):
    """Whether a password was right, and the hash to replace an outdated one."""

    right: bool
    new_hash: str | None = None


def check_length(password: str, field: str) -> None:
    """Raise InvalidRequest for a password that is too long to be hashed."""
    if len(_normal(password).encode()) > MAX_BYTES:
        raise InvalidRequest([{"field": field, "message": f"Must have at most {MAX_BYTES} bytes"}])


def check_new(password: str, field: str, *, refuse_common: bool) -> None:
    """Raise InvalidRequest for a password that is not allowed."""
    check_length(password, field)
    if len(_normal(password)) < MIN_CHARACTERS:
        raise InvalidRequest([{"field": field, "message": f"Must have at least {MIN_CHARACTERS} characters"}])
    if refuse_common and _normal(password).lower() in COMMON:
        raise InvalidRequest([{"field": field, "message": "Is one of the most common passwords"}])


class PasswordHasher(Threads):
    """Hashes and verifies on threads, since both take long. Raises ServiceUnavailable if the queue is full."""

    def __init__(self, *, threads: int, queue: int) -> None:
        super().__init__("passwords", threads=threads, queue=queue)

    async def hash(self, password: str) -> str:
        return await self.run(lambda: hash_password(password))

    async def check(self, password: str, stored: str | None) -> Verdict:
        """Verify a password. None, for an unknown user, takes as long as a wrong password."""
        return await self.run(lambda: _check_forms(password, stored))


def hash_password(password: str) -> str:
    """Return the hash to store; blocks."""
    return str(_context.hash(_normal(password)))


def _normal(password: str) -> str:
    return unicodedata.normalize("NFC", password)


def _check_forms(password: str, stored: str | None) -> Verdict:
    """Verify a normalised password, and then as it was sent: earlier versions hashed it so."""
    verdict = _check(_normal(password), stored)
    if verdict.right or password == _normal(password):
        return verdict
    verdict = _check(password, stored)
    return Verdict(right=True, new_hash=verdict.new_hash or hash_password(password)) if verdict.right else verdict


def _check(password: str, stored: str | None) -> Verdict:
    """Verify a password by one argon2id computation, whatever the scheme of the hash is."""
    scheme = stored and _context.identify(stored)
    if scheme == "bcrypt" and stored and _is_bcrypt_of(password, stored):
        return Verdict(right=True, new_hash=hash_password(password))
    if scheme == "argon2":
        right = _verify(password, stored)
        return Verdict(right, hash_password(password) if right and _context.needs_update(stored) else None)
    _verify(password, _UNKNOWN_USER)
    return Verdict(right=False)


def _is_bcrypt_of(password: str, stored: str) -> bool:
    if _verify(sha256(password.encode()).hexdigest(), stored):
        return True
    # Of the password itself. A hex SHA-256 is refused: it may be one stored here, which must not work as a password.
    return _verify(password.encode()[:BCRYPT_BYTES], stored) and not _HEX_SHA256.fullmatch(password.lower())


def _verify(secret: str | bytes, stored: str | None) -> bool:
    try:
        return bool(_context.verify(secret, stored))
    except ValueError:  # a damaged hash, or a password that the scheme refuses
        return False
