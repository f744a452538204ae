"""Users: the shape that goes over the wire, and how administrators see, make, change and remove them."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from secrets import token_hex
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import msgspec
import structlog
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import Uuid, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.constraints import UsernameTaken, account_constraints
from kitsu.domain.accounts.context import AccountContext
from kitsu.domain.accounts.emails import normalised
from kitsu.domain.accounts.passwords import check_new
from kitsu.domain.accounts.permissions import Role
from kitsu.domain.mapping import columns_of, given
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.errors import BadRequest, InvalidRequest, NotFound

log = structlog.get_logger("kitsu.security")

USERNAME_MIN = 3
USERNAME = r"^[A-Za-z0-9_-]{3,32}$"


class User(msgspec.Struct, kw_only=True):
    """An account, as its owner and administrators see it."""

    id: UUID
    email: Annotated[str, Meta(examples=["kaguya@example.org"])]
    username: Annotated[str, Meta(examples=["kaguya"])]
    role: Role
    is_active: bool
    avatar: Annotated[str | None, Meta(description="`uploads/avatars/<name>`")]
    avatar_url: Annotated[str | None, Meta(description="where the file is served from")]
    created_at: datetime


class UserChange(msgspec.Struct):
    """What an administrator changes of a user; what is left out stays."""

    is_active: bool | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    email: str | UnsetType = UNSET


_user = models.User
_COLUMNS = columns_of(User, _user)
_FIELDS = [column.key for column in _COLUMNS]
_ONE = select(*_COLUMNS).where(_user.id == bindparam("user_id", type_=Uuid))
_ADMINISTRATORS = (
    select(_user.id).where(_user.role == "admin", _user.is_active.is_(True)).order_by(_user.id).with_for_update()
)


class UserReader:
    """Reads accounts, for their owners and for administrators."""

    def __init__(self, runner: StatementRunner, media_url: str) -> None:
        """`media_url` is where browsers find the media store, without a slash at its end."""
        self._runner = runner
        self._user_of = partial(user_of, media_url=media_url)
        self._listing = Listing(
            self._user_of,
            select(*_COLUMNS),
            descending(_user.created_at),
            descending(_user.id),
            counted=select(_user.id),
        )

    async def page(self, request: PageRequest) -> Page[User]:
        """Return a page of all users, newest first."""
        return await self._listing.page(self._runner, {}, request)

    async def detail(self, user_id: UUID) -> User:
        """Return one user. Raises NotFound."""
        row = await self._runner.row(_ONE, {"user_id": user_id})
        if row is None:
            raise NotFound("User not found")
        return self._user_of(row)


class UserRows(SQLAlchemyAsyncRepositoryService[models.User]):
    """Users in the caller's transaction: what all services that write users have in common."""

    class Repository(SQLAlchemyAsyncRepository[models.User]):
        """Users in the database."""

        model_type = models.User

    repository_type = Repository

    async def locked(self, user_id: UUID) -> models.User:
        """Return the user, locked until the end of the transaction. Raises NotFound."""
        user = await self.get_one_or_none(id=user_id, with_for_update=True)
        if user is None:
            raise NotFound("User not found")
        return user

    async def write(self, user: models.User, values: Mapping[str, Any]) -> None:
        """Change a locked user, in the caller's transaction. Raises BadRequest for a taken name or e-mail."""
        for name, value in values.items():
            setattr(user, name, value)
        with account_constraints():
            await self.repository.session.flush()

    async def insert(self, email: str, password_hash: str, role: Role) -> models.User:
        """Make an account named after its e-mail, in the caller's transaction. Raises BadRequest when it is taken."""
        local_part = re.sub(r"[^A-Za-z0-9_-]", "", email.split("@", maxsplit=1)[0])
        wanted = local_part[:32] if len(local_part) >= USERNAME_MIN else ""
        while True:
            username = wanted or f"{(local_part or 'user')[:19]}-{token_hex(6)}"
            user = models.User(email=email, username=username, password_hash=password_hash, role=role)
            try:
                with account_constraints():
                    async with self.repository.session.begin_nested():
                        return await self.create(user, auto_refresh=False)
            except UsernameTaken:
                wanted = ""

    async def keep_an_administrator(self, user_id: UUID) -> None:
        """Raise BadRequest when this user is the last active administrator; locks the administrators."""
        administrators = (await self.repository.session.scalars(_ADMINISTRATORS)).all()
        if list(administrators) == [user_id]:
            raise BadRequest("The last administrator can't be removed or demoted")


class UserService(UserRows):
    """Makes, changes and removes accounts."""

    def __init__(self, session: AsyncSession, *, context: AccountContext) -> None:
        super().__init__(session)
        self._session = session
        self._context = context

    async def add(self, email: str, password: str, role: Role) -> User:
        """Make an account. Raises BadRequest when the e-mail is taken, InvalidRequest."""
        address = valid_email(email)
        check_new(password, "password", refuse_common=self._context.refuse_common_passwords)
        user = await self.insert(address, await self._context.hasher.hash(password), role)
        await self._session.commit()
        log.info("user created", user_id=str(user.id), role=role)
        return self.struct_of(user)

    async def rename(self, user_id: UUID, username: str) -> User:
        """Give a user another name. Raises BadRequest when it is taken, InvalidRequest."""
        check_username(username)
        user = await self.locked(user_id)
        await self.write(user, {"username": username})
        await self._session.commit()
        return self.struct_of(user)

    async def change(self, user_id: UUID, change: UserChange) -> User:
        """Change what an administrator may. Raises NotFound, BadRequest, InvalidRequest."""
        values = given(change)
        if isinstance(change.email, str):
            values["email"] = valid_email(change.email)
        if change.is_active is False or change.role == "user":
            await self.keep_an_administrator(user_id)
        user = await self.locked(user_id)
        await self.write(user, values)
        if change.is_active is False:
            await self._context.sessions(self._session).revoke_all(user_id, "account")
        await self._session.commit()
        if change.role is not UNSET:
            log.info("role changed", user_id=str(user_id), role=change.role)
        if change.is_active is not UNSET:
            log.info("user activated" if change.is_active else "user deactivated", user_id=str(user_id))
        return self.struct_of(user)

    async def remove(self, user_id: UUID) -> None:
        """Delete an account with all its rows. Raises NotFound, and BadRequest for the last administrator."""
        await self.keep_an_administrator(user_id)
        avatar = (await self.locked(user_id)).avatar
        if avatar is not None:
            await self._context.orphans.note(self._session, avatar)
        await self.delete(user_id, auto_commit=True)
        log.info("user deleted", user_id=str(user_id))
        if avatar is not None:
            await self._context.orphans.tidy(avatar)

    def struct_of(self, user: models.User) -> User:
        """Return the user as clients see it."""
        return user_of([getattr(user, name) for name in _FIELDS], media_url=self._context.media_url)


def user_of(row: Sequence[Any], *, media_url: str) -> User:
    """Return the user of a row, which begins with the columns of `users` that User has fields for."""
    values = dict(zip(_FIELDS, row, strict=False))
    avatar = values["avatar"]
    return User(**values, avatar_url=avatar and f"{media_url}/avatars/{quote(avatar.rpartition('/')[2])}")


def check_username(username: str) -> None:
    """Raise InvalidRequest for a name that is not allowed."""
    if not re.fullmatch(USERNAME, username):
        raise InvalidRequest(
            [{"field": "username", "message": "Must be 3 to 32 letters, digits, underscores or hyphens"}]
        )


def valid_email(email: str) -> str:
    """Return the address as it is stored. Raises InvalidRequest."""
    try:
        return normalised(email)
    except ValueError as error:
        raise InvalidRequest([{"field": "email", "message": str(error)}]) from None
