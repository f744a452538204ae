"""The paths under /auth: coming in, staying in, going out."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from kitsu.domain.accounts.sessions import Device, Identity, Session, SessionService, Tokens
from kitsu.domain.accounts.sign_in import AccountService
from kitsu.errors import BadRequest, Forbidden, InvalidRequest, NotFound, RateLimited, Unauthorized
from kitsu.web.authentication import LOGIN_REQUIRED
from kitsu.web.openapi import BEARER, errors

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

    @post(
        "/register",
        operation_id="register",
        summary="Make an account",
        response_description="The tokens of the new account's first session.",
        responses=errors(BadRequest, InvalidRequest, RateLimited),
    )
    async def register(
        self,
        data: JSONBody[Credentials],
        accounts: NamedDependency[AccountService],
        client_device: NamedDependency[Device],
    ) -> Tokens:
        """An account for an e-mail that has none, signed in at once."""
        return await accounts.register(data.email, data.password, client_device)

    @post(
        "/login",
        status_code=200,
        operation_id="login",
        summary="Sign in",
        response_description="The tokens of a new session.",
        responses=errors(Unauthorized, InvalidRequest, RateLimited),
    )
    async def login(
        self,
        data: JSONBody[Credentials],
        accounts: NamedDependency[AccountService],
        client_device: NamedDependency[Device],
    ) -> Tokens:
        """A new session; those on other devices stay."""
        return await accounts.login(data.email, data.password, client_device)

    @post(
        "/refresh",
        status_code=200,
        operation_id="refreshTokens",
        summary="Trade a refresh token for new tokens",
        response_description="New tokens; the old refresh token is spent.",
        responses=errors(Unauthorized, Forbidden, InvalidRequest, RateLimited),
    )
    async def refresh(
        self, data: JSONBody[Refresh], accounts: NamedDependency[AccountService], client_device: NamedDependency[Device]
    ) -> Tokens:
        """Each refresh token is good once; one that comes a second time ends its session."""
        return await accounts.refresh(data.refresh_token, client_device)

    @post(
        "/logout",
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
        opt=LOGIN_REQUIRED,
        security=BEARER,
        operation_id="listSessions",
        summary="List the devices that are signed in",
        response_description="The sessions, last used first.",
        responses=errors(Unauthorized),
    )
    async def list_sessions(
        self, sessions: NamedDependency[SessionService], identity: NamedDependency[Identity]
    ) -> list[Session]:
        """The devices on which the caller is signed in."""
        return await sessions.active_sessions(identity)

    @delete(
        "/sessions/{session_id:str}",
        opt=LOGIN_REQUIRED,
        security=BEARER,
        operation_id="endSession",
        summary="Sign one device out",
        response_description="The session is over.",
        responses=errors(Unauthorized, NotFound, InvalidRequest),
    )
    async def end_session(
        self,
        session_id: FromPath[UUID],
        sessions: NamedDependency[SessionService],
        identity: NamedDependency[Identity],
    ) -> None:
        """Its access token stops working with the next request."""
        await sessions.end(identity, session_id)

    @delete(
        "/sessions",
        opt=LOGIN_REQUIRED,
        security=BEARER,
        operation_id="endOtherSessions",
        summary="Sign out all devices but this one",
        response_description="The other sessions are over.",
        responses=errors(Unauthorized),
    )
    async def end_other_sessions(
        self, sessions: NamedDependency[SessionService], identity: NamedDependency[Identity]
    ) -> None:
        """All sessions of the caller end but the one that asks."""
        await sessions.end_others(identity)

    @post(
        "/password",
        status_code=204,
        opt=LOGIN_REQUIRED,
        security=BEARER,
        operation_id="changePassword",
        summary="Set a new password",
        response_description="The password is set, and every other session is over.",
        responses=errors(Unauthorized, InvalidRequest, RateLimited),
    )
    async def change_password(
        self,
        data: JSONBody[NewPassword],
        accounts: NamedDependency[AccountService],
        identity: NamedDependency[Identity],
        client_device: NamedDependency[Device],
    ) -> None:
        """Takes the current password as well; every other session ends."""
        await accounts.change_password(identity, data.current_password, data.new_password, client_device)
