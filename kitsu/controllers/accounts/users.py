"""The paths under /users: one's own account, and all accounts for administrators."""

from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIFormat, OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import FromPath, JSONBody

from kitsu.controllers.accounts.auth import Email, Password
from kitsu.domain.accounts.permissions import Role
from kitsu.domain.accounts.sessions import Device
from kitsu.domain.accounts.sign_in import AccountService
from kitsu.domain.accounts.users import USERNAME, User, UserChange, UserReader, UserService
from kitsu.domain.media.avatars import MAX_BYTES, AvatarService
from kitsu.domain.pagination import PageRequest
from kitsu.errors import (
    BadRequest,
    Forbidden,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    UnsupportedMediaType,
)
from kitsu.web.guards import requires
from kitsu.web.middleware.client import DEVICE
from kitsu.web.openapi import errors
from kitsu.web.pagination import LIST_HEADERS, PAGES, page_response
from kitsu.web.request import JSON, MAX_BODY_BYTES, ViewerRequest
from kitsu.web.services import service

T = TypeVar("T")


class NewUser(msgspec.Struct):
    """An account that an administrator makes."""

    email: Email
    password: Password
    role: Role = "user"


class Proof(msgspec.Struct):
    """The caller's password, for what can't be undone."""

    password: Password


MULTIPART = "multipart/form-data"
URL_ENCODED = "application/x-www-form-urlencoded"

_USERNAME = Schema(type=OpenAPIType.STRING, pattern=USERNAME, examples=["kaguya"])
_AVATAR = Schema(
    type=OpenAPIType.STRING,
    format=OpenAPIFormat.BINARY,
    description="a JPEG, PNG, GIF, WebP or BMP picture of at most 5 MB and 4096 pixels a side",
)
_PROFILE = Schema(type=OpenAPIType.OBJECT, properties={"username": _USERNAME})
_PROFILE_WITH_FILE = Schema(type=OpenAPIType.OBJECT, properties={"username": _USERNAME, "avatar": _AVATAR})


@dataclass
class ProfileOperation(Operation):
    """Takes a form or JSON, which a handler's signature can't say."""

    def __post_init__(self) -> None:
        """Describe the body."""
        schemas = {MULTIPART: _PROFILE_WITH_FILE, URL_ENCODED: _PROFILE, JSON: _PROFILE}
        self.request_body = RequestBody(
            content={media_type: OpenAPIMediaType(schema=schema) for media_type, schema in schemas.items()}
        )


class UserController(Controller):
    """Accounts."""

    path = "/users"
    tags = ["Accounts"]
    dependencies = DEVICE | {
        "users": service(UserService),
        "accounts": service(AccountService),
        "avatars": service(AvatarService),
    }
    reader: UserReader

    @get("/me")
    async def get_me(self, request: ViewerRequest) -> User:
        """Get the current user."""
        return await self.reader.detail(request.user.user_id)

    @patch(
        "/me",
        guards=[requires("write:profile")],
        request_max_body_size=MAX_BYTES + MAX_BODY_BYTES,
        operation_class=ProfileOperation,
        responses=errors(BadRequest, RateLimited),
    )
    async def change_me(
        self, request: ViewerRequest, users: NamedDependency[UserService], avatars: NamedDependency[AvatarService]
    ) -> User:
        """Update the current user.

        Takes a form or JSON; a file only in a multipart form. Fields that are left out keep their value.
        """
        username, avatar = await _profile(request)
        if avatar is not None:
            return await avatars.set(request.user.user_id, avatar, username)
        if username is not None:
            return await users.rename(request.user.user_id, username)
        return await self.reader.detail(request.user.user_id)

    @delete("/me", guards=[requires("write:profile")], responses=errors(BadRequest, RateLimited))
    async def delete_me(
        self,
        request: ViewerRequest,
        data: JSONBody[Proof],
        client_device: NamedDependency[Device],
        accounts: NamedDependency[AccountService],
    ) -> None:
        """Delete the current user.

        Requires the password. The account and all its data are deleted and cannot be restored.
        """
        await accounts.leave(request.user, data.password, client_device)

    @get("/", guards=[requires("admin:*")], dependencies=PAGES, response_headers=LIST_HEADERS)
    async def list_users(
        self, request: Request[Any, Any, Any], page_request: NamedDependency[PageRequest]
    ) -> Response[list[User]]:
        """List users.

        All accounts, newest first.
        """
        return page_response(request, await self.reader.page(page_request))

    @post("/", guards=[requires("admin:*")], responses=errors(BadRequest))
    async def add_user(self, data: JSONBody[NewUser], users: NamedDependency[UserService]) -> User:
        """Create a user.

        The account of a user, an editor or an administrator.
        """
        return await users.add(data.email, data.password, data.role)

    @get("/{user_id:str}", responses=errors(Forbidden, NotFound))
    async def get_user(self, request: ViewerRequest, user_id: FromPath[UUID]) -> User:
        """Get a user.

        Administrators may read any account, other users their own.
        """
        if user_id != request.user.user_id and not request.user.may("admin:*"):
            raise Forbidden
        return await self.reader.detail(user_id)

    @patch("/{user_id:str}", guards=[requires("admin:*")], responses=errors(BadRequest, NotFound))
    async def change_user(
        self, user_id: FromPath[UUID], data: JSONBody[UserChange], users: NamedDependency[UserService]
    ) -> User:
        """Update a user.

        Fields that are left out keep their value. The last administrator cannot be demoted or deactivated.
        """
        return await users.change(user_id, data)

    @delete("/{user_id:str}", guards=[requires("admin:*")], responses=errors(BadRequest, NotFound))
    async def delete_user(self, user_id: FromPath[UUID], users: NamedDependency[UserService]) -> None:
        """Delete a user.

        The account and all its data are deleted. The last administrator cannot be deleted.
        """
        await users.remove(user_id)


async def _profile(request: Request[Any, Any, Any]) -> tuple[str | None, bytes | None]:
    """The fields `username` and `avatar` of a body. Raises PayloadTooLarge, UnsupportedMediaType, InvalidRequest."""
    media_type = request.content_type[0]
    body = await request.body()
    if media_type != MULTIPART and len(body) > MAX_BODY_BYTES:
        raise PayloadTooLarge
    if media_type == JSON:
        fields = await request.json()
        if not isinstance(fields, dict):
            raise InvalidRequest
        return _only([fields["username"]] if "username" in fields else [], str, "username"), None
    if media_type not in {MULTIPART, URL_ENCODED}:
        if body:
            raise UnsupportedMediaType
        return None, None
    form = await request.form()
    username = _only(form.getall("username", []), str, "username")
    file = _only(form.getall("avatar", []), UploadFile, "avatar") if media_type == MULTIPART else None
    return username, None if file is None else await file.read()


def _only(given: list[Any], kind: type[T], name: str) -> T | None:
    """The one value of a field, None without any. Raises InvalidRequest."""
    if not given:
        return None
    if len(given) > 1 or not isinstance(given[0], kind):
        raise InvalidRequest([{"field": name, "message": f"Expected one {'text' if kind is str else 'file'}"}])
    return given[0]
