"""The paths under /auth: coming in, staying in, going out."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from kitsu.domain.accounts.sessions import Device, Session, SessionReader, SessionService, Tokens
from kitsu.domain.accounts.sign_in import AccountService
from kitsu.errors import BadRequest, Forbidden, InvalidRequest, NotFound, RateLimited, Unauthorized
from kitsu.web.authentication import PUBLIC
from kitsu.web.middleware.client import DEVICE
from kitsu.web.openapi import BEARER, errors
from kitsu.web.rate_limits import rate_limited
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

Email = Annotated[str, Meta(max_length=320, examples=["kaguya@example.org"])]
Password = Annotated[str, Meta(description="8 to 1024 bytes", examples=["a long enough password"])]
RefreshToken = Annotated[str, Meta(description="as it came; any other text is an unknown one")]


class Credentials(msgspec.Struct):
    """What somebody signs in with."""

    email: Email
    password: Password


class Refresh(msgspec.Struct):
    """The refresh token of a session."""

    refresh_token: RefreshToken


class NewPassword(msgspec.Struct):
    """The old password and the one to come."""

    current_password: Password
    new_password: Password


class AuthController(Controller):
    """Registration, login, sessions, passwords."""

    path = "/auth"
    tags = ["Accounts"]  # noqa: RUF012 - Litestar's way to declare
    dependencies = DEVICE | {"accounts": service(AccountService), "sessions": service(SessionService)}
    reader: SessionReader

    @post(
        "/register",
        opt=PUBLIC,
        guards=[rate_limited("register")],
        operation_id="register",
        summary="Make an account",
        response_description="The tokens of the new account's first session.",
        responses=errors(BadRequest, InvalidRequest, RateLimited),
    )
    async def register(
        self,
        data: JSONBody[Credentials],
        client_device: NamedDependency[Device],
        accounts: NamedDependency[AccountService],
    ) -> Tokens:
        """An account for an e-mail that has none, signed in at once."""
        return await accounts.register(data.email, data.password, client_device)

    @post(
        "/login",
        opt=PUBLIC,
        status_code=200,
        operation_id="login",
        summary="Sign in",
        response_description="The tokens of a new session.",
        responses=errors(Unauthorized, InvalidRequest, RateLimited),
    )
    async def login(
        self,
        data: JSONBody[Credentials],
        client_device: NamedDependency[Device],
        accounts: NamedDependency[AccountService],
    ) -> Tokens:
        """A new session; those on other devices stay."""
        return await accounts.login(data.email, data.password, client_device)

    @post(
        "/refresh",
        opt=PUBLIC,
        guards=[rate_limited("refresh")],
        status_code=200,
        operation_id="refreshTokens",
        summary="Trade a refresh token for new tokens",
        response_description="New tokens; the old refresh token is spent.",
        responses=errors(Unauthorized, Forbidden, InvalidRequest, RateLimited),
    )
    async def refresh(self, data: JSONBody[Refresh], sessions: NamedDependency[SessionService]) -> Tokens:
        """Each refresh token is good once; one that comes a second time ends its session."""
        return await sessions.refresh(data.refresh_token)

    @post(
        "/logout",
        opt=PUBLIC,
        status_code=204,
        operation_id="logout",
        summary="Sign out",
        response_description="The session is over.",
        responses=errors(InvalidRequest),
    )
    async def logout(self, data: JSONBody[Refresh], sessions: NamedDependency[SessionService]) -> None:
        """Ends the session of the refresh token; a token that is unknown is no error."""
        await sessions.logout(data.refresh_token)

    @get(
        "/sessions",
        security=BEARER,
        operation_id="listSessions",
        summary="List the devices that are signed in",
        response_description="The sessions, last used first.",
        responses=errors(Unauthorized),
    )
    async def list_sessions(self, request: ViewerRequest) -> list[Session]:
        """The devices on which the caller is signed in."""
        return await self.reader.active_sessions(request.user)

    @delete(
        "/sessions/{session_id:str}",
        security=BEARER,
        operation_id="endSession",
        summary="Sign one device out",
        response_description="The session is over.",
        responses=errors(Unauthorized, NotFound, InvalidRequest),
    )
    async def end_session(
        self, request: ViewerRequest, session_id: FromPath[UUID], sessions: NamedDependency[SessionService]
    ) -> None:
        """Its access token stops working with the next request."""
        await sessions.end(request.user, session_id)

    @delete(
        "/sessions",
        security=BEARER,
        operation_id="endOtherSessions",
        summary="Sign out all devices but this one",
        response_description="The other sessions are over.",
        responses=errors(Unauthorized),
    )
    async def end_other_sessions(self, request: ViewerRequest, sessions: NamedDependency[SessionService]) -> None:
        """All sessions of the caller end but the one that asks."""
        await sessions.end_others(request.user)

    @post(
        "/password",
        status_code=204,
        security=BEARER,
        operation_id="changePassword",
        summary="Set a new password",
        response_description="The password is set, and every other session is over.",
        responses=errors(Unauthorized, InvalidRequest, RateLimited),
    )
    async def change_password(
        self,
        request: ViewerRequest,
        data: JSONBody[NewPassword],
        client_device: NamedDependency[Device],
        accounts: NamedDependency[AccountService],
    ) -> None:
        """Takes the current password as well; every other session ends."""
        await accounts.change_password(request.user, data.current_password, data.new_password, client_device)
