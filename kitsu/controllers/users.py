"""The paths under /users: one's own account, and all accounts for administrators."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency, Provide
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import FromPath, JSONBody

from kitsu.controllers.auth import Email, Password
from kitsu.controllers.bodies import JSON, json_of
from kitsu.controllers.lists import LIST_HEADERS, answer, provide_page_request
from kitsu.domain.accounts import AccountService
from kitsu.domain.paging import PageRequest
from kitsu.domain.permissions import Role
from kitsu.domain.sessions import Device, Identity
from kitsu.domain.users import USERNAME, User, UserChange, UserService
from kitsu.errors import (
    BadRequest,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unauthorized,
    UnsupportedMediaType,
)
from kitsu.middleware.authentication import login_required, requires
from kitsu.openapi import BEARER, errors


class NewUser(msgspec.Struct):
    """An account that an administrator makes."""

    email: Email
    password: Password
    role: Role = "user"


class Proof(msgspec.Struct):
    """The caller's password, for what can't be undone."""

    password: Password


_PROFILE = Schema(
    type=OpenAPIType.OBJECT,
    properties={"username": Schema(type=OpenAPIType.STRING, pattern=USERNAME, examples=["kaguya"])},
)


@dataclass
class ProfileOperation(Operation):
    """Takes a form or JSON, which a handler's signature can't say."""

    def __post_init__(self) -> None:
        """Describe the body."""
        media_types = ("multipart/form-data", "application/x-www-form-urlencoded", JSON)
        self.request_body = RequestBody(
            content={media_type: OpenAPIMediaType(schema=_PROFILE) for media_type in media_types}
        )


class UserController(Controller):
    """Accounts."""

    path = "/users"
    tags = ["Accounts"]  # noqa: RUF012 - Litestar's way to declare
    security = BEARER

    @get(
        "/me",
        guards=[login_required],
        operation_id="getMe",
        summary="Get one's own account",
        response_description="The caller's account.",
        responses=errors(Unauthorized),
    )
    async def get_me(self, users: NamedDependency[UserService], identity: NamedDependency[Identity]) -> User:
        """The account of whoever asks."""
        return await users.detail(identity.user_id)

    @patch(
        "/me",
        guards=[requires("write:profile")],
        operation_class=ProfileOperation,
        operation_id="changeMe",
        summary="Change one's own account",
        response_description="The account as it is now.",
        responses=errors(BadRequest, Unauthorized, Forbidden, UnsupportedMediaType, InvalidRequest),
    )
    async def change_me(
        self,
        request: Request[Any, Any, Any],
        users: NamedDependency[UserService],
        identity: NamedDependency[Identity],
    ) -> User:
        """Takes a form or JSON; a field that is left out stays as it is."""
        username = await _username(request)
        return await (users.detail(identity.user_id) if username is None else users.rename(identity.user_id, username))

    @delete(
        "/me",
        guards=[requires("write:profile")],
        operation_id="deleteMe",
        summary="Delete one's own account",
        response_description="The account is gone, with all that was stored of it.",
        responses=errors(BadRequest, Unauthorized, Forbidden, InvalidRequest, RateLimited),
    )
    async def delete_me(
        self,
        data: JSONBody[Proof],
        accounts: NamedDependency[AccountService],
        identity: NamedDependency[Identity],
        device: NamedDependency[Device],
    ) -> None:
        """Takes the password. There is no way back."""
        await accounts.leave(identity, data.password, device)

    @get(
        "/",
        guards=[requires("admin:*")],
        operation_id="listUsers",
        summary="List users",
        response_description="A part of the users.",
        dependencies={"asked": Provide(provide_page_request, sync_to_thread=False)},
        response_headers=LIST_HEADERS,
        responses=errors(Unauthorized, Forbidden, InvalidRequest),
    )
    async def list_users(
        self,
        request: Request[Any, Any, Any],
        users: NamedDependency[UserService],
        asked: NamedDependency[PageRequest],
    ) -> Response[list[User]]:
        """All accounts, newest first."""
        return answer(request, asked, await users.page(asked))

    @post(
        "/",
        guards=[requires("admin:*")],
        operation_id="addUser",
        summary="Make an account for somebody",
        response_description="The new account.",
        responses=errors(BadRequest, Unauthorized, Forbidden, InvalidRequest),
    )
    async def add_user(self, data: JSONBody[NewUser], users: NamedDependency[UserService]) -> User:
        """An account, of a user or of an administrator."""
        return await users.add(data.email, data.password, data.role)

    @get(
        "/{user_id:str}",
        guards=[login_required],
        operation_id="getUser",
        summary="Get one user",
        response_description="The account.",
        responses=errors(Unauthorized, Forbidden, NotFound, InvalidRequest),
    )
    async def get_user(
        self, user_id: FromPath[UUID], users: NamedDependency[UserService], identity: NamedDependency[Identity]
    ) -> User:
        """Any account for administrators, for others their own."""
        if user_id != identity.user_id and not identity.may("admin:*"):
            raise Forbidden
        return await users.detail(user_id)

    @patch(
        "/{user_id:str}",
        guards=[requires("admin:*")],
        operation_id="changeUser",
        summary="Change a user",
        response_description="The account as it is now.",
        responses=errors(BadRequest, Unauthorized, Forbidden, NotFound, InvalidRequest),
    )
    async def change_user(
        self, user_id: FromPath[UUID], data: JSONBody[UserChange], users: NamedDependency[UserService]
    ) -> User:
        """What is left out stays. The last administrator can't be demoted or switched off."""
        return await users.change(user_id, data)

    @delete(
        "/{user_id:str}",
        guards=[requires("admin:*")],
        operation_id="deleteUser",
        summary="Delete a user",
        response_description="The account is gone, with all that was stored of it.",
        responses=errors(BadRequest, Unauthorized, Forbidden, NotFound, InvalidRequest),
    )
    async def delete_user(self, user_id: FromPath[UUID], users: NamedDependency[UserService]) -> None:
        """The last administrator can't be deleted."""
        await users.remove(user_id)


async def _username(request: Request[Any, Any, Any]) -> str | None:
    """The field `username` of a form or of JSON. Raises UnsupportedMediaType, InvalidRequest."""
    media_type = request.content_type[0]
    if media_type == JSON:
        body = await json_of(request)
        if not isinstance(body, dict):
            raise InvalidRequest
        given = [body["username"]] if "username" in body else []
    elif media_type in {"multipart/form-data", "application/x-www-form-urlencoded"}:
        given = (await request.form()).getall("username", [])
    elif await request.body():
        raise UnsupportedMediaType
    else:
        given = []
    if not given:
        return None
    if len(given) > 1 or not isinstance(given[0], str):
        raise InvalidRequest([{"field": "username", "message": "Expected one text"}])
    return given[0]
