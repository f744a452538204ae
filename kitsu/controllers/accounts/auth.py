"""The paths under /auth: registration, login, sessions, passwords."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.accounts.identities import Session, SessionReader
from kitsu.domain.accounts.sessions import Device, RefreshTokenText, SessionService, Tokens
from kitsu.domain.accounts.sign_in import AccountService
from kitsu.domain.fields import described
from kitsu.errors import BadRequest, ChallengeBody, ErrorBody, Forbidden, NotFound, RateLimited, Unauthorized
from kitsu.web.authentication import PUBLIC
from kitsu.web.guards import rate_limited
from kitsu.web.middleware.client import DEVICE
from kitsu.web.openapi import body_of, errors
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

Accounts = NamedDependency[AccountService]
ClientDevice = NamedDependency[Device]
Sessions = NamedDependency[SessionService]
Email = Annotated[str, described("The e-mail address.", "kaguya@example.org", max_length=320)]
Password = Annotated[str, described("The password, from 8 characters to 1024 bytes.", "a long enough password")]

_LOGIN_ERROR: Any = ErrorBody | ChallengeBody
LOGIN_REFUSED = {401: body_of(_LOGIN_ERROR, f"{Unauthorized.__doc__} With a second factor: {ChallengeBody.__doc__}")}


class Credentials(msgspec.Struct):
    """The credentials of a user."""

    email: Email
    password: Password


class Registration(Credentials):
    """The credentials of a new user."""

    invitation: Annotated[str | None, described("The token of an invitation.", "kB3v9Qm1Zt7yXw5LhRk2Pd8sUaEj4")] = None


class RefreshRequest(msgspec.Struct):
    """The refresh token of a session."""

    refresh_token: RefreshTokenText


class NewPassword(msgspec.Struct, forbid_unknown_fields=True):
    """The current and the new password."""

    current_password: Annotated[Password, described("The password until now.")]
    new_password: Annotated[Password, described("The password from now on, from 8 characters to 1024 bytes.")]


class AuthController(Controller):
    path = "/auth"
    tags = ["Accounts"]
    dependencies = DEVICE | {"accounts": service(AccountService), "sessions": service(SessionService)}
    reader: SessionReader

    @post("/register", opt=PUBLIC, guards=[rate_limited("register")], responses=errors(BadRequest, Forbidden))
    async def register(self, data: JSONBody[Registration], client_device: ClientDevice, accounts: Accounts) -> Tokens:
        """Create an account. The e-mail must not belong to another account. The response has the tokens of a new
        session. Where registration is limited, 403 has the code `REGISTRATION_CLOSED` or, without an invitation,
        `INVITATION_REQUIRED`.
        """
        return await accounts.register(data.email, data.password, client_device, data.invitation)

    @post("/login", opt=PUBLIC, status_code=200, responses=errors(RateLimited) | LOGIN_REFUSED)
    async def login(self, data: JSONBody[Credentials], client_device: ClientDevice, accounts: Accounts) -> Tokens:
        """Log in. Starts a new session. Sessions on other devices continue. If the user has a second factor, the
        response to right credentials is a 401 with the code `SECOND_FACTOR_REQUIRED` and a `challenge`, with which
        `POST /auth/login/second-factor` finishes the login.
        """
        return await accounts.login(data.email, data.password, client_device)

    @post(
        "/refresh",
        opt=PUBLIC,
        guards=[rate_limited("refresh")],
        status_code=200,
        responses=errors(Unauthorized, Forbidden),
    )
    async def refresh_tokens(self, data: JSONBody[RefreshRequest], sessions: Sessions) -> Tokens:
        """Refresh the tokens. A refresh token works once. Sent again, it gets the same new refresh token while that is
        unused, and ends its session afterwards.
        """
        return await sessions.refresh(data.refresh_token)

    @post("/logout", opt=PUBLIC, status_code=204)
    async def logout(self, data: JSONBody[RefreshRequest], sessions: Sessions) -> None:
        """Log out. Ends the session of the refresh token. An unknown token is not an error."""
        await sessions.logout(data.refresh_token)

    @get("/sessions")
    async def list_sessions(self, request: ViewerRequest) -> list[Session]:
        """List sessions. The devices on which the user is signed in, last used first."""
        return await self.reader.active_sessions(request.user.user_id, request.user.session_id)

    @delete("/sessions/{session_id:str}", responses=errors(NotFound))
    async def end_session(self, request: ViewerRequest, session_id: FromPath[UUID], sessions: Sessions) -> None:
        """End a session. Its access token stops working with the next request."""
        await sessions.end(request.user.user_id, session_id)

    @delete("/sessions")
    async def end_other_sessions(self, request: ViewerRequest, sessions: Sessions) -> None:
        """End all other sessions. Only the session of this request continues."""
        await sessions.end_others(request.user)

    @post("/password", status_code=204, responses=errors(BadRequest, RateLimited))
    async def change_password(
        self, request: ViewerRequest, data: JSONBody[NewPassword], client_device: ClientDevice, accounts: Accounts
    ) -> None:
        """Change the password. Requires the current password. Every other session ends."""
        await accounts.change_password(request.user, data.current_password, data.new_password, client_device)
