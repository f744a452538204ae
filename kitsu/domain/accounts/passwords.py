"""Passwords: how they are stored and checked, and on whose time.

New ones are argon2id. A database from before Kitsu holds bcrypt over the hex SHA-256 of the password, in some rows over
the password itself; both are checked, and replaced at the next login.
"""

import re
from hashlib import sha256
from typing import NamedTuple

from passlib.context import CryptContext
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from kitsu.domain.threads import Threads
from kitsu.errors import InvalidRequest

MIN_BYTES = 8
MAX_BYTES = 1024
BCRYPT_BYTES = 72
"""bcrypt never saw more, and its library now refuses more."""

_context = CryptContext(
    schemes=["argon2", "bcrypt"],
    deprecated=["bcrypt"],
    argon2__memory_cost=19_456,
    argon2__time_cost=2,
    argon2__parallelism=1,
)
_NOBODY = _context.hash("nobody has this password")
_HEX_SHA256 = re.compile("[0-9a-f]{64}")

COMMON = frozenset([word for word in FREQUENCY_LISTS["passwords"] if len(word.encode()) >= MIN_BYTES][:3000])


class Verdict(NamedTuple):
    """Whether a password was right, and the hash to store from now on when the old one is out of date."""

    right: bool
    new_hash: str | None = None


def check_length(password: str, field: str) -> None:
    """Raise InvalidRequest for a password that is longer than any, before anybody hashes it."""
    if len(password.encode()) > MAX_BYTES:
        raise InvalidRequest([{"field": field, "message": f"Must have at most {MAX_BYTES} bytes"}])


def check_new(password: str, field: str, *, refuse_common: bool) -> None:
    """Raise InvalidRequest for a password that nobody may choose."""
    check_length(password, field)
    if len(password.encode()) < MIN_BYTES:
        raise InvalidRequest([{"field": field, "message": f"Must have at least {MIN_BYTES} bytes"}])
    if refuse_common and password.lower() in COMMON:
        raise InvalidRequest([{"field": field, "message": "Is one of the most common passwords"}])


class PasswordHasher:
    """Hashes and checks on threads of its own, so that neither the event loop nor a database connection waits."""

    def __init__(self, *, threads: int, queue: int) -> None:
        self._threads = Threads("passwords", threads=threads, queue=queue)
        self.close = self._threads.close

    @property
    def busy(self) -> int:
        """How many passwords are being hashed or wait for it."""
        return self._threads.busy

    async def hash(self, password: str) -> str:
        """The hash to store. Raises ServiceUnavailable when too many wait already."""
        return await self._threads.run(lambda: _context.hash(password))

    async def check(self, password: str, stored: str | None) -> Verdict:
        """Whether it is the password of this hash; None, for nobody's, costs the same. Raises ServiceUnavailable."""
        return await self._threads.run(lambda: _check(password, stored))


def _check(password: str, stored: str | None) -> Verdict:
    """One argon2id computation on every path, whatever is stored."""
    if stored is None or _context.identify(stored) != "bcrypt":
        known = stored is not None and _context.identify(stored) == "argon2"
        right = _verify(password, stored if known else _NOBODY) and known
        return Verdict(right, _context.hash(password) if right and _context.needs_update(stored) else None)
    if _is_bcrypt_of(password, stored):
        return Verdict(right=True, new_hash=_context.hash(password))
    _verify(password, _NOBODY)
    return Verdict(right=False)


def _is_bcrypt_of(password: str, stored: str) -> bool:
    if _verify(sha256(password.encode()).hexdigest(), stored):
        return True
    # Over the password itself. What looks like a digest is no password: whoever knows one would get in with it.
    as_it_was = password.encode()[:BCRYPT_BYTES]
    return _verify(as_it_was, stored) and not _HEX_SHA256.fullmatch(password.lower())


def _verify(secret: str | bytes, stored: str | None) -> bool:
    try:
        return bool(_context.verify(secret, stored))
    except ValueError:  # a hash that is damaged, or a password that its scheme can't take: nobody's
        return False
