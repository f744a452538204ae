"""Recovery codes: each one replaces a second factor once. Only their hashes are stored."""

from base64 import b32encode
from hashlib import sha256
from secrets import token_bytes
from uuid import UUID

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import RecoveryCode

NUMBER = 10
CODE_BYTES = 10  # 80 bits, so that a hash without a secret key is enough: the codes work after SECRET_KEY has changed


async def replace(session: AsyncSession, user_id: UUID) -> list[str]:
    """Store new codes in place of the old ones, in the caller's transaction, and return them."""
    codes = [_new_code() for _ in range(NUMBER)]
    await remove(session, user_id)
    rows = [{"user_id": user_id, "code_hash": _hash(user_id, code)} for code in codes]
    await execute_core(session, insert(RecoveryCode).values(rows))
    return codes


async def use(session: AsyncSession, user_id: UUID, code: str) -> bool:
    """Use a code up, in the caller's transaction, and return whether it was right."""
    statement = delete(RecoveryCode).where(
        RecoveryCode.user_id == user_id, RecoveryCode.code_hash == _hash(user_id, code)
    )
    return (await execute_core(session, statement)).rowcount == 1


async def remaining(session: AsyncSession, user_id: UUID) -> int:
    """Return the number of unused codes."""
    query = select(func.count()).select_from(RecoveryCode).where(RecoveryCode.user_id == user_id)
    return await session.scalar(query) or 0


async def remove(session: AsyncSession, user_id: UUID) -> None:
    """Delete the codes of a user, in the caller's transaction."""
    await execute_core(session, delete(RecoveryCode).where(RecoveryCode.user_id == user_id))


def _new_code() -> str:
    text = b32encode(token_bytes(CODE_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _hash(user_id: UUID, code: str) -> str:
    typed = code.replace("-", "").lower()
    return sha256(user_id.bytes + typed.encode()).hexdigest()
