"""The passkeys of users, and their use."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import DateTime, LargeBinary, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.db.engine import execute_core
from kitsu.db.errors import translate_constraint_errors
from kitsu.domain.accounts.webauthn import TRANSPORTS, NewCredential, Refused, RelyingParty, UsedCredential, raw_id_of
from kitsu.domain.fields import VISIBLE, described
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.errors import BadRequest, Conflict

MAX_PASSKEYS = 20  # of a user
PasskeyName = Annotated[
    str, described("A name for the list of passkeys.", "Phone", min_length=1, max_length=64, pattern=VISIBLE)
]
log = structlog.get_logger("kitsu.security")


class Passkey(msgspec.Struct):
    """A passkey of the user."""

    id: UUID
    name: Annotated[str, described("The name that the user gave it.", "Phone")]
    created_at: Annotated[datetime, described("When it was added.")]
    last_used_at: Annotated[datetime | None, described("When it last signed in, or null.")]


class InvalidPasskey(BadRequest, message="The passkey is invalid or was made for another site: begin again"):
    """The browser's answer was changed, is of another site, or has a form that Kitsu does not read."""


class TakenPasskey(Conflict, message="This passkey exists already"):
    """The credential id is known, for this user or another one."""


_OWN: Rows = (
    select(*columns_of(Passkey, models.Passkey))
    .where(models.Passkey.user_id == bindparam("user_id"))
    .order_by(models.Passkey.id)
)
_passkey_of = mapper(Passkey, _OWN)
_KNOWN = select(models.Passkey.credential_id, models.Passkey.transports).where(
    models.Passkey.user_id == bindparam("user_id")
)
_STORED = select(models.Passkey.id, models.Passkey.user_id, models.Passkey.public_key, models.Passkey.sign_count).where(
    models.Passkey.credential_id == bindparam("credential", type_=LargeBinary)
)


async def passkeys_of(session: AsyncSession, user_id: UUID) -> list[Passkey]:
    """Return the passkeys of a user, oldest first."""
    return [_passkey_of(row) for row in await execute_core(session, _OWN, {"user_id": user_id})]


async def known_credentials(session: AsyncSession, user_id: UUID) -> list[Any]:
    """Return the rows of a user's passkeys that the options of `RelyingParty` name."""
    return [*await execute_core(session, _KNOWN, {"user_id": user_id})]


async def add_passkey(
    session: AsyncSession, party: RelyingParty, user_id: UUID, name: str, challenge: str, credential: NewCredential
) -> Passkey:
    """Store a new passkey of a locked user, in the caller's transaction. Raises InvalidPasskey, Conflict."""
    if len(await passkeys_of(session, user_id)) >= MAX_PASSKEYS:
        raise Conflict(f"An account has at most {MAX_PASSKEYS} passkeys: remove one first")
    try:
        verified = party.verify_new(challenge, credential)
    except Refused as error:
        log.warning("passkey refused", user_id=str(user_id), reason=str(error))
        raise InvalidPasskey from error
    statement = insert(models.Passkey).values(
        id=uuid7(),
        user_id=user_id,
        name=name,
        credential_id=verified.credential_id,
        public_key=verified.public_key,
        sign_count=verified.sign_count,
        transports=sorted(TRANSPORTS.intersection(credential.response.transports)),
    )
    with translate_constraint_errors({"uq_passkeys_credential_id": TakenPasskey}):
        added = await execute_core(session, statement.returning(*columns_of(Passkey, models.Passkey)))
    return _passkey_of(added.one())


async def owner_of(session: AsyncSession, credential: UsedCredential) -> UUID | None:
    """Return the user of a passkey, which is not verified."""
    stored = (await execute_core(session, _STORED, {"credential": raw_id_of(credential)})).one_or_none()
    return stored.user_id if stored else None


async def use_passkey(
    session: AsyncSession,
    party: RelyingParty,
    user_id: UUID,
    challenge: str,
    credential: UsedCredential,
    *,
    verifies_user: bool = False,
) -> bool:
    """Use a passkey of a locked user, in the caller's transaction, and return whether it is right.

    With `verifies_user` the authenticator must have verified who uses it, by a PIN or a finger.
    """
    stored = (await execute_core(session, _STORED, {"credential": raw_id_of(credential)})).one_or_none()
    if stored is None or stored.user_id != user_id:
        return False
    try:
        count = party.verify_used(challenge, credential, stored, verifies_user=verifies_user)
    except Refused as error:
        log.warning("passkey refused", user_id=str(user_id), reason=str(error))
        return False
    values = {"sign_count": count, "last_used_at": func.clock_timestamp(type_=DateTime(timezone=True))}
    await execute_core(session, update(models.Passkey).where(models.Passkey.id == stored.id).values(values))
    return True


async def remove_passkey(session: AsyncSession, user_id: UUID, passkey_id: UUID) -> bool:
    """Delete a passkey, in the caller's transaction, and return whether the user had it."""
    is_own = (models.Passkey.user_id == user_id, models.Passkey.id == passkey_id)
    return (await execute_core(session, delete(models.Passkey).where(*is_own))).rowcount == 1


async def remove_passkeys(session: AsyncSession, user_id: UUID) -> None:
    """Delete all passkeys of a user, in the caller's transaction."""
    await execute_core(session, delete(models.Passkey).where(models.Passkey.user_id == user_id))
