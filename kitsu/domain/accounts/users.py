"""Users: the shape that goes over the wire, and how administrators see, make, change and remove them."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from secrets import token_hex
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import msgspec
import structlog
from advanced_alchemy.exceptions import IntegrityError
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import Uuid, bindparam, select
from sqlalchemy.exc import IntegrityError as StatementIntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from kitsu.db import models
from kitsu.db.errors import violated_constraint
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.emails import normalised
from kitsu.domain.accounts.passwords import PasswordHasher, check_new
from kitsu.domain.accounts.permissions import Role
from kitsu.domain.accounts.sessions import SessionService
from kitsu.domain.media.orphans import OrphanFiles
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


class Repository(SQLAlchemyAsyncRepository[models.User]):
    """Users in the database."""

    model_type = models.User


class UserRows(SQLAlchemyAsyncRepositoryService[models.User, Repository]):
    """Users, in the transaction of a session."""

    repository_type = Repository


_user = models.User
_FIELDS = tuple(name for name in User.__struct_fields__ if name != "avatar_url")
_COLUMNS = tuple(getattr(_user, name) for name in _FIELDS)
_ONE = select(*_COLUMNS).where(_user.id == bindparam("user_id", type_=Uuid))
_ADMINISTRATORS = (
    select(_user.id).where(_user.role == "admin", _user.is_active.is_(True)).order_by(_user.id).with_for_update()
)
_LISTING = Listing(select(*_COLUMNS), descending(_user.created_at), descending(_user.id), counted=select(_user.id))


class UserService:
    """Accounts, for their owners and for administrators."""

    def __init__(
        self,
        engine: AsyncEngine,
        runner: StatementRunner,
        hasher: PasswordHasher,
        sessions: SessionService,
        strays: OrphanFiles,
        *,
        refuse_common: bool,
        media_url: str,
    ) -> None:
        """`media_url` is what a browser finds the media store under, without a slash at its end."""
        self._runner = runner
        self._transactions = async_sessionmaker(engine, expire_on_commit=False)
        self._hasher = hasher
        self._sessions = sessions
        self._strays = strays
        self._refuse_common = refuse_common
        self._media_url = media_url

    async def page(self, request: PageRequest) -> Page[User]:
        """All users, newest first."""
        return await _LISTING.page(self._runner, {}, request, self._shape)

    async def detail(self, user_id: UUID) -> User:
        """One user. Raises NotFound."""
        row = await self._runner.row(_ONE, {"user_id": user_id})
        if row is None:
            raise NotFound("User not found")
        return self._shape(row)

    async def add(self, email: str, password: str, role: Role) -> User:
        """Make an account. Raises BadRequest when the e-mail is taken, InvalidRequest."""
        address = valid_email(email)
        check_new(password, "password", refuse_common=self._refuse_common)
        password_hash = await self._hasher.hash(password)
        async with self._transactions.begin() as session:
            user = await insert_user(session, address, password_hash, role)
        log.info("user created", user_id=str(user.id), role=role)
        return await self.detail(user.id)

    async def rename(self, user_id: UUID, username: str) -> User:
        """Give a user another name. Raises BadRequest when it is taken, InvalidRequest."""
        check_username(username)
        async with self._transactions.begin() as session:
            await write_user(session, await user_to_change(session, user_id), {"username": username})
        return await self.detail(user_id)

    async def change(self, user_id: UUID, change: UserChange) -> User:
        """Change what an administrator may. Raises NotFound, BadRequest, InvalidRequest."""
        values = {name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not UNSET}
        if isinstance(change.email, str):
            values["email"] = valid_email(change.email)
        async with self._transactions.begin() as session:
            if change.is_active is False or change.role == "user":
                await _keep_an_administrator(session, user_id)
            if values:
                await write_user(session, await user_to_change(session, user_id), values)
            if change.is_active is False:
                await self._sessions.revoke_all(await session.connection(), user_id, "account")
        if change.role is not UNSET:
            log.info("role changed", user_id=str(user_id), role=change.role)
        if change.is_active is not UNSET:
            log.info("user activated" if change.is_active else "user deactivated", user_id=str(user_id))
        return await self.detail(user_id)

    async def remove(self, user_id: UUID) -> None:
        """Delete an account with all that hangs on it. Raises NotFound, and BadRequest for the last administrator."""
        async with self._transactions.begin() as session:
            await _keep_an_administrator(session, user_id)
            avatar = (await user_to_change(session, user_id)).avatar
            if avatar is not None:
                await self._strays.note(await session.connection(), avatar)
            await UserRows(session=session).delete_where(_user.id == user_id)
        log.info("user deleted", user_id=str(user_id))
        if avatar is not None:
            await self._strays.tidy(avatar)

    def _shape(self, row: Any) -> User:
        values = dict(zip(_FIELDS, row, strict=True))
        avatar = values["avatar"]
        return User(**values, avatar_url=avatar and f"{self._media_url}/avatars/{quote(avatar.rpartition('/')[2])}")


async def user_to_change(session: AsyncSession, user_id: UUID) -> models.User:
    """The user, whom nobody else changes till the transaction's end. Raises NotFound."""
    user = await session.get(models.User, user_id, with_for_update=True)
    if user is None:
        raise NotFound("User not found")
    return user


async def write_user(session: AsyncSession, user: models.User, values: Mapping[str, Any]) -> None:
    """Change the user, in the caller's transaction. Raises BadRequest for a name or an e-mail that is taken."""
    for name, value in values.items():
        setattr(user, name, value)
    with _taken():
        await session.flush()


def check_username(username: str) -> None:
    """Raise InvalidRequest for a name that nobody may have."""
    if not re.fullmatch(USERNAME, username):
        raise InvalidRequest(
            [{"field": "username", "message": "Must be 3 to 32 letters, digits, underscores or hyphens"}]
        )


def valid_email(email: str) -> str:
    """The address as it is stored. Raises InvalidRequest."""
    try:
        return normalised(email)
    except ValueError as error:
        raise InvalidRequest([{"field": "email", "message": str(error)}]) from None


async def insert_user(session: AsyncSession, email: str, password_hash: str, role: Role) -> models.User:
    """Make an account with a name after its e-mail, in the caller's transaction. Raises BadRequest when it is taken."""
    rows = UserRows(session=session)
    local_part = re.sub(r"[^A-Za-z0-9_-]", "", email.split("@", maxsplit=1)[0])
    wished = local_part[:32] if len(local_part) >= USERNAME_MIN else ""
    while True:
        username = wished or f"{(local_part or 'user')[:19]}-{token_hex(6)}"
        user = models.User(email=email, username=username, password_hash=password_hash, role=role)
        try:
            async with session.begin_nested():
                return await rows.create(user, auto_refresh=False)
        except IntegrityError as error:
            if violated_constraint(error) != "uq_users_username_lower":
                _raise_taken(error)
                raise
            wished = ""


async def _keep_an_administrator(session: AsyncSession, user_id: UUID) -> None:
    """Raise BadRequest when this user is the last one who can administer; whoever else wants to go waits here."""
    administrators = (await session.scalars(_ADMINISTRATORS)).all()
    if list(administrators) == [user_id]:
        raise BadRequest("The last administrator can't be removed or demoted")


@contextmanager
def _taken() -> Iterator[None]:
    """A name or an e-mail that somebody else has, as an error of the contract."""
    try:
        yield
    except (IntegrityError, StatementIntegrityError) as error:
        _raise_taken(error)
        raise


def _raise_taken(error: Exception) -> None:
    """Raise BadRequest when this error of the database is about a name or an e-mail that is taken."""
    constraint = violated_constraint(error) or ""
    if constraint.startswith("uq_users_email"):
        raise BadRequest("Email already registered") from error
    if constraint == "uq_users_username_lower":
        raise BadRequest("Username already taken") from error
