"""The paths under /users: the current user, and all accounts for administrators."""

from typing import Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.datastructures import FormMultiDict, MultiDict, UploadFile
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import FromPath, JSONBody

from kitsu.controllers.accounts.auth import Accounts, ClientDevice, Email, Password
from kitsu.domain.accounts.deactivation import Deactivation
from kitsu.domain.accounts.permissions import Role
from kitsu.domain.accounts.profile import ProfileChange
from kitsu.domain.accounts.sign_in import AccountService
from kitsu.domain.accounts.usernames import USERNAME
from kitsu.domain.accounts.users import User, UserChange, UserReader, UserService
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
from kitsu.web.guards import check_permission, requires
from kitsu.web.middleware.client import DEVICE
from kitsu.web.openapi import errors, file, form, operation_with_body
from kitsu.web.pagination import LIST_HEADERS, PAGES, page_response
from kitsu.web.request import JSON, MAX_BODY_BYTES, ViewerRequest
from kitsu.web.services import service

T = TypeVar("T")
Users = NamedDependency[UserService]
MULTIPART = "multipart/form-data"
URL_ENCODED = "application/x-www-form-urlencoded"


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    """An account to create."""

    email: Email
    password: Password
    role: Role = "user"


class PasswordConfirmation(msgspec.Struct, forbid_unknown_fields=True):
    """The password of the current user, for what can't be undone."""

    password: Password


_username = Schema(type=OpenAPIType.STRING, pattern=USERNAME, description="The new public name.", examples=["kaguya"])
_avatar = file(
    "A JPEG, PNG, GIF, WebP, BMP, AVIF or HEIC image of at most 5 MB. JPEGs may have 65 megapixels; the others, which "
    "take more memory, between 9 and 30. Of an animation the first frame is used."
)
_timezone = Schema(type=OpenAPIType.STRING, description="An IANA time zone.", examples=["Asia/Tokyo"])
_is_public = Schema(
    type=OpenAPIType.BOOLEAN,
    description="Whether everyone may see the profile and the library; in a form the text `true` or `false`.",
    examples=[True],
)
_fields: dict[str, Any] = {"username": _username, "timezone": _timezone, "is_public": _is_public}
_change = form("ProfileChange", "Changes of the current user.", **_fields)
_with_file = form("ProfileForm", "Changes of the current user, with a file.", **_fields, avatar=_avatar)
PROFILE = operation_with_body({MULTIPART: _with_file, URL_ENCODED: _change, JSON: _change})


class UserController(Controller):
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
        operation_class=PROFILE,
        responses=errors(BadRequest, RateLimited),
    )
    async def change_me(self, request: ViewerRequest, users: Users, avatars: NamedDependency[AvatarService]) -> User:
        """Update the current user. Takes a form or JSON; a file only in a multipart form. Fields that are left out keep
        their value.
        """
        change, avatar = await _profile(request)
        if avatar is not None:
            return await avatars.set(request.user.user_id, avatar, change)
        return await users.change_profile(request.user.user_id, change)

    @delete("/me/avatar", guards=[requires("write:profile")])
    async def delete_my_avatar(self, request: ViewerRequest, avatars: NamedDependency[AvatarService]) -> None:
        """Delete the avatar of the current user. The user need not have one."""
        await avatars.clear(request.user.user_id)

    @delete("/me", guards=[requires("write:profile")], responses=errors(BadRequest, RateLimited))
    async def delete_me(
        self,
        request: ViewerRequest,
        data: JSONBody[PasswordConfirmation],
        client_device: ClientDevice,
        accounts: Accounts,
    ) -> None:
        """Delete the current user. Requires the password. The account and all its data are deleted and cannot be
        restored.
        """
        await accounts.leave(request.user, data.password, client_device)

    @post(
        "/me/deactivate", guards=[requires("write:profile")], status_code=200, responses=errors(BadRequest, RateLimited)
    )
    async def deactivate_me(
        self,
        request: ViewerRequest,
        data: JSONBody[PasswordConfirmation],
        client_device: ClientDevice,
        accounts: Accounts,
    ) -> Deactivation:
        """Deactivate the current user. Requires the password. Others no longer see the account, and all its sessions
        end. A login within 30 days brings it back with all its data; then the account is deleted.
        """
        return await accounts.deactivate(request.user, data.password, client_device)

    @get("/", guards=[requires("admin:*")], dependencies=PAGES, response_headers=LIST_HEADERS)
    async def list_users(
        self, request: ViewerRequest, page_request: NamedDependency[PageRequest]
    ) -> Response[list[User]]:
        """List users. All accounts, newest first."""
        return page_response(request, await self.reader.page(page_request))

    @post("/", guards=[requires("admin:*")], responses=errors(BadRequest))
    async def add_user(self, request: ViewerRequest, data: JSONBody[NewUser], users: Users) -> User:
        """Create a user."""
        return await users.add(data.email, data.password, data.role, by=request.user.user_id)

    @get("/{user_id:str}", responses=errors(Forbidden, NotFound))
    async def get_user(self, request: ViewerRequest, user_id: FromPath[UUID]) -> User:
        """Get a user. Administrators may read any account, other users their own."""
        if user_id != request.user.user_id:
            check_permission(request.user, "admin:*")
        return await self.reader.detail(user_id)

    @patch("/{user_id:str}", guards=[requires("admin:*")], responses=errors(BadRequest, NotFound))
    async def change_user(
        self, request: ViewerRequest, user_id: FromPath[UUID], data: JSONBody[UserChange], users: Users
    ) -> User:
        """Update a user. Fields that are left out keep their value. The last administrator cannot be demoted or
        deactivated.
        """
        return await users.change(user_id, data, by=request.user.user_id)

    @delete("/{user_id:str}", guards=[requires("admin:*")], responses=errors(BadRequest, NotFound))
    async def delete_user(self, request: ViewerRequest, user_id: FromPath[UUID], users: Users) -> None:
        """Delete a user. The account and all its data are deleted. The last administrator cannot be deleted."""
        await users.remove(user_id, by=request.user.user_id)


async def _profile(request: Request[Any, Any, Any]) -> tuple[ProfileChange, bytes | None]:
    """Return the changes and the avatar of a body. Raises PayloadTooLarge, UnsupportedMediaType, InvalidRequest."""
    media_type = request.content_type[0]
    body = await request.body()
    if media_type != MULTIPART and len(body) > MAX_BODY_BYTES:
        raise PayloadTooLarge
    fields: FormMultiDict | MultiDict[Any] = MultiDict()
    if media_type in {MULTIPART, URL_ENCODED}:
        fields = await request.form()
    elif media_type == JSON:
        content = await request.json()
        if not isinstance(content, dict):
            raise InvalidRequest
        fields = MultiDict(content)
    elif body:
        raise UnsupportedMediaType
    given: dict[str, Any] = {name: _single(fields, name, str, "text") for name in ("username", "timezone")}
    given["is_public"] = _flag(fields, "is_public", bool if media_type == JSON else str)
    change = ProfileChange(**{name: value for name, value in given.items() if value is not None})
    avatar = _single(fields, "avatar", UploadFile, "file") if media_type == MULTIPART else None
    return change, None if avatar is None else await avatar.read()


def _flag(fields: FormMultiDict | MultiDict[Any], name: str, kind: type[Any]) -> bool | None:
    """Return the only value of a field as a boolean, None without one. Raises InvalidRequest."""
    value = _single(fields, name, kind, "boolean")
    try:
        return None if value is None else msgspec.convert(value, bool, strict=False)
    except msgspec.ValidationError:
        raise InvalidRequest([{"field": name, "message": "Expected true or false"}]) from None


def _single(fields: FormMultiDict | MultiDict[Any], name: str, kind: type[T], description: str) -> T | None:
    """Return the only value of a field, None without one. Raises InvalidRequest."""
    values = fields.getall(name, [])
    if kind is UploadFile:
        values = [value for value in values if value != ""]  # browsers send it for a file field without a file
    if len(values) > 1 or not all(isinstance(value, kind) for value in values):
        raise InvalidRequest([{"field": name, "message": f"Expected one {description}"}])
    return values[0] if values else None
