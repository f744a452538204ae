"""Users: the Structs on the wire, and how administrators list, create, change and delete accounts."""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import msgspec
import structlog
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import UNSET, UnsetType
from sqlalchemy import Text, Uuid, bindparam, func, select, union
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.account_tokens import is_reserved, revoke_of_address
from kitsu.domain.accounts.context import AccountContext
from kitsu.domain.accounts.deactivation import IS_VISIBLE, delete_user
from kitsu.domain.accounts.new_users import constraint_errors, email_taken, insert_user, valid_email
from kitsu.domain.accounts.notices import notify
from kitsu.domain.accounts.passwords import check_new
from kitsu.domain.accounts.permissions import Role
from kitsu.domain.accounts.profile import IsPublic, ProfileChange, Timezone
from kitsu.domain.accounts.sessions import SessionService
from kitsu.domain.accounts.usernames import USERNAME
from kitsu.domain.admin_log import log_action
from kitsu.domain.checks import check_all
from kitsu.domain.fields import described
from kitsu.domain.mapping import columns_of, given
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.errors import BadRequest, NotFound

log = structlog.get_logger("kitsu.security")

MAX_FOUND = 50  # users that a search returns
LAST_CHARACTER = "\U0010ffff"

request_origin: ContextVar[str] = ContextVar("request_origin", default="")
"""Scheme and host of the current request, for `avatar_url`."""
_AVATAR_URL = described("Where the file is served.", "https://api.example.org/media/avatars/5f0c6a7be1d24d0f.webp")


class User(msgspec.Struct, kw_only=True):
    """An account, as its owner and administrators see it."""

    id: UUID
    email: Annotated[str, described("The e-mail address.", "kaguya@example.org")]
    email_verified: Annotated[bool, described("Whether the user has followed a link that was sent to the address.")]
    has_second_factor: Annotated[bool, described("Whether a login needs a code besides the password.")]
    username: Annotated[str, described("The public name, unique among all users.", "kaguya")]
    role: Role
    is_active: Annotated[bool, described("Whether the user may log in.")]
    avatar: Annotated[str | None, described("`uploads/avatars/<name>`.", "uploads/avatars/5f0c6a7be1d24d0f.webp")]
    avatar_url: Annotated[str | None, _AVATAR_URL]
    timezone: Timezone
    is_public: IsPublic
    created_at: Annotated[datetime, described("When the account was created.")]
    deletion_at: Annotated[
        datetime | None, described("When the account is deleted, which its owner deactivated; null for all others.")
    ]


class UserChange(msgspec.Struct, forbid_unknown_fields=True):
    """A change by an administrator. Fields that are left out keep their value."""

    is_active: Annotated[bool, described("Whether the user may log in. False ends all sessions.")] | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    email: Annotated[str, described("The new e-mail address.", "kaguya@example.org")] | UnsetType = UNSET


_user = models.User
_COLUMNS = columns_of(
    User,
    _user,
    email_verified=_user.email_verified_at.is_not(None),
    has_second_factor=_user.second_factor_since.is_not(None),
)
_FIELDS = [column.key for column in _COLUMNS]
_ONE = select(*_COLUMNS).where(_user.id == bindparam("user_id", type_=Uuid))
_PUBLIC = select(*_COLUMNS).where(
    func.lower(_user.username) == func.lower(bindparam("username", type_=Text)), _user.is_public.is_(True), IS_VISIBLE
)
_start, _end = bindparam("start", type_=Text), bindparam("end", type_=Text)
_MATCHES = union(
    *(
        select(_user.id).where(key.op("~>=~")(_start), key.op("~<~")(_end)).limit(MAX_FOUND).subquery().select()
        for key in (func.lower(_user.email), func.lower(_user.username))
    )
)
_FOUND = select(*_COLUMNS).where(_user.id.in_(_MATCHES)).order_by(func.lower(_user.username)).limit(MAX_FOUND)
_ADMINISTRATORS = select(_user.id).where(_user.role == "admin", IS_VISIBLE).order_by(_user.id).with_for_update()


class UserReader:
    def __init__(self, runner: StatementRunner, media_url: str | None) -> None:
        self._runner = runner
        self._user_of = partial(user_of, media_url=media_url)
        newest = (descending(_user.created_at), descending(_user.id))
        self._listing = Listing(self._user_of, select(*_COLUMNS), *newest, counted=select(_user.id))

    async def page(self, request: PageRequest) -> Page[User]:
        """Return a page of all users, newest first."""
        return await self._listing.page(self._runner, {}, request)

    async def search(self, text: str) -> list[User]:
        """Return the users whose e-mail or name begins with a text, by name; at most MAX_FOUND."""
        start = text.strip().lower()
        parameters = {"start": start, "end": start + LAST_CHARACTER}
        return [self._user_of(row) for row in await self._runner.rows(_FOUND, parameters)]

    async def detail(self, user_id: UUID) -> User:
        """Return one user. Raises NotFound."""
        row = await self._runner.row(_ONE, {"user_id": user_id})
        if row is None:
            raise NotFound("User not found")
        return self._user_of(row)

    async def public(self, username: str) -> User:
        """Return the active user of a name, in any case, whose profile is public. Raises NotFound."""
        # PostgreSQL takes no text with NUL.
        row = await self._runner.row(_PUBLIC, {"username": username}) if re.fullmatch(USERNAME, username) else None
        if row is None:
            raise NotFound("Profile not found")
        return self._user_of(row)


class UserService(SQLAlchemyAsyncRepositoryService[models.User]):
    """Creates, changes and deletes accounts."""

    class Repository(SQLAlchemyAsyncRepository[models.User]):
        model_type = models.User

    repository_type = Repository

    def __init__(self, session: AsyncSession, *, context: AccountContext) -> None:
        super().__init__(session)
        self._session = session
        self._context = context
        self._sessions = SessionService(session, access_tokens=context.access_tokens, rules=context.session_rules)

    async def add(self, email: str, password: str, role: Role, *, by: UUID) -> User:
        """Create an account. Raises BadRequest when the e-mail is taken, InvalidRequest."""
        address, password_hash = await self._new_credentials(email, password)
        user = await insert_user(self._session, address, password_hash, role)
        await log_action(self._session, by, "user created", user.username, user.id, role=role)
        await self._session.commit()
        log.info("user created", user_id=str(user.id), role=role)
        return self._struct_of(user)

    async def change_profile(self, user_id: UUID, change: ProfileChange) -> User:
        """Change a user's own account. Raises BadRequest when the name is taken, InvalidRequest."""
        change.check()
        user = await self._change(await self._locked(user_id), given(change))
        await self._session.commit()
        return self._struct_of(user)

    async def change(self, user_id: UUID, change: UserChange, *, by: UUID) -> User:
        """Change a user. Raises NotFound, BadRequest, InvalidRequest."""
        values = given(change)
        if change.email is not UNSET:
            values["email"] = valid_email(change.email)
        if change.is_active is False or change.role in {"user", "editor"}:
            await keep_an_administrator(self._session, user_id)
        user = await self._locked(user_id)
        before = {name: getattr(user, name) for name in values}
        if values.get("email", user.email) != user.email:
            await notify(self._session, self._context, user_id, "email-changed")  # to the old address
        await self._change(user, values)
        if before.get("email") != values.get("email"):
            user.email_verified_at = None
            # Only now: the update waited for a change that reserves the address.
            if await is_reserved(self._session, user.email, user_id):
                raise email_taken()
            await revoke_of_address(self._session, user_id)
        if change.is_active is False:
            await self._sessions.revoke_all(user_id, "account")
        # Without the addresses, which a deleted user would leave in the log.
        changed = {
            name: {"before": before[name], "after": value} if name != "email" else {}
            for name, value in values.items()
            if value != before[name]
        }
        if changed:
            await log_action(self._session, by, "user changed", user.username, user_id, **changed)
        await self._session.commit()
        if change.role is not UNSET:
            log.info("role changed", user_id=str(user_id), role=change.role)
        if change.is_active is not UNSET:
            log.info("user activated" if change.is_active else "user deactivated", user_id=str(user_id))
        return self._struct_of(user)

    async def remove(self, user_id: UUID, *, by: UUID) -> None:
        """Delete an account with all its rows. Raises NotFound, and BadRequest for the last administrator."""
        await keep_an_administrator(self._session, user_id)
        user = await self._locked(user_id)
        if by != user_id:
            await log_action(self._session, by, "user deleted", user.username, user_id)
        await delete_user(self._session, self._context.orphans, user_id, user.avatar)

    async def _new_credentials(self, email: str, password: str) -> tuple[str, str]:
        """Return the address and the hash of the password of a new account. Raises InvalidRequest."""
        is_strict = self._context.refuse_common_passwords
        address, _ = check_all(
            lambda: valid_email(email), lambda: check_new(password, "password", refuse_common=is_strict)
        )
        return address, await self._context.hasher.hash(password)

    async def _locked(self, user_id: UUID) -> models.User:
        user = await self.get_one_or_none(id=user_id, with_for_update=True)
        if user is None:
            raise NotFound("User not found")
        return user

    async def _change(self, user: models.User, values: Mapping[str, Any]) -> models.User:
        """Change a locked user. Raises BadRequest for a name or an e-mail that is taken."""
        for name, value in values.items():
            setattr(user, name, value)
        with constraint_errors():
            await self._session.flush()
        return user

    def _struct_of(self, user: models.User) -> User:
        return user_of({name: getattr(user, name) for name in _FIELDS}, media_url=self._context.media_url)


async def administrators(session: AsyncSession) -> list[UUID]:
    """Lock the active administrators, and return them."""
    return list(await session.scalars(_ADMINISTRATORS))


async def keep_an_administrator(session: AsyncSession, user_id: UUID) -> None:
    """Lock the administrators. Raise BadRequest when this user is the last active one."""
    if await administrators(session) == [user_id]:
        raise BadRequest("The last administrator can't be removed or demoted")


def user_of(row: Mapping[str, Any], *, media_url: str | None) -> User:
    avatar = row["avatar"]
    base_url = media_url or f"{request_origin.get()}/media"
    avatar_url = avatar and f"{base_url}/avatars/{quote(avatar.rpartition('/')[2])}"
    return User(**{name: row[name] for name in _FIELDS}, avatar_url=avatar_url)
