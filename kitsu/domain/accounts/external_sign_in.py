"""Accounts of users who sign in with an OpenID provider: sign-in, registration, and the links of an account."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import Text, Uuid, bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from kitsu.db.engine import execute_core
from kitsu.db.errors import translate_constraint_errors
from kitsu.db.models import AuthSession, ExternalIdentity, User
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.context import AccountContext
from kitsu.domain.accounts.ended_sessions import IS_ACTIVE
from kitsu.domain.accounts.new_users import insert_user, valid_email
from kitsu.domain.accounts.notices import notify
from kitsu.domain.accounts.oidc_flows import Claims, Flow, OIDCFlows
from kitsu.domain.accounts.passwords import NO_PASSWORD
from kitsu.domain.accounts.registration import check_registration
from kitsu.domain.accounts.sessions import Device, Tokens
from kitsu.domain.accounts.sign_in import CREDENTIALS, AccountService
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.errors import BadRequest, Conflict, NotFound, Unauthorized

log = structlog.get_logger("kitsu.security")

UNVERIFIED = (
    "The provider has not verified this e-mail address. Verify it there, or sign in in another way "
    "and link the provider"
)
TAKEN = "An account has this e-mail address, and has not verified it. Sign in to it and link the provider"


class AlreadyLinked(Conflict, message="This identity belongs to another account"):
    """The identity at the provider belongs to another account."""


class SessionEnded(Unauthorized):
    """The session that began to link a provider has ended, or its user was deactivated."""


class SignInLink(msgspec.Struct):
    """A link of the account to a user of a provider."""

    id: UUID
    provider: Annotated[str, described("The name of the provider.", "google")]
    email: Annotated[str | None, described("The e-mail address there, when it was linked.", "kaguya@example.org")]
    created_at: Annotated[datetime, described("When it was linked.")]


_LINKS: Rows = (
    select(*columns_of(SignInLink, ExternalIdentity))
    .where(ExternalIdentity.user_id == bindparam("user_id", type_=Uuid))
    .order_by(ExternalIdentity.id)
)
_link_of = mapper(SignInLink, _LINKS)
_BY_IDENTITY = CREDENTIALS.join(ExternalIdentity, ExternalIdentity.user_id == User.id).where(
    ExternalIdentity.issuer == bindparam("issuer_", type_=Text),
    ExternalIdentity.subject == bindparam("subject_", type_=Text),
)
_BY_ADDRESS = CREDENTIALS.where(func.lower(User.email) == func.lower(bindparam("address", type_=Text)))

# The end of the session waits.
_LINKING_SESSION = (
    select(AuthSession.id)
    .where(
        AuthSession.user_id == bindparam("user", type_=Uuid),
        AuthSession.id == bindparam("session", type_=Uuid),
        *IS_ACTIVE,
    )
    .with_for_update(read=True)
)


class SignInLinkReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def links(self, user_id: UUID) -> list[SignInLink]:
        """Return the links of a user, oldest first."""
        return [_link_of(row) for row in await self._runner.rows(_LINKS, {"user_id": user_id})]


class ExternalSignInService(AccountService):
    """Signs in users of providers, and links them to accounts."""

    def __init__(self, session: AsyncSession, *, context: AccountContext, flows: OIDCFlows) -> None:
        super().__init__(session, context=context)
        self._flows = flows

    async def callback(
        self,
        name: str,
        state: str | None,
        code: str | None,
        *,
        error: str | None,
        issuer: str | None,
        cookie: str | None,
    ) -> str:
        """Return the address of the front end to which the browser goes on.

        `error` and `issuer` are those of the provider's answer. Raises InvalidSignIn, NotFound, ServiceUnavailable.
        """
        flow = await self._flows.use_state(name, state, cookie)
        # RFC 9207: another issuer means that another provider has answered.
        is_refused = error is not None or issuer not in {None, self._flows.issuer_of(name)}
        if is_refused or code is None or state is None or cookie is None:
            log.info("sign-in refused by provider", provider=name)
            return self._flows.front_end(flow.redirect_to, error="sign_in_failed")
        claims = await self._flows.claims(name, state, code)
        if flow.user_id is None:
            return await self._flows.issue_code(flow, claims, cookie)
        try:
            await self._check_session(flow)
            await self._link(flow.user_id, name, claims)
        except (AlreadyLinked, SessionEnded) as refusal:
            await self._session.rollback()
            reason = "already_linked" if isinstance(refusal, AlreadyLinked) else "session_ended"
            log.info("sign-in link refused", user_id=str(flow.user_id), provider=name, reason=reason)
            return self._flows.front_end(flow.redirect_to, error=reason)
        await self._session.commit()
        return self._flows.front_end(flow.redirect_to, linked=name)

    async def exchange(self, code: str, cookie: str | None, device: Device) -> Tokens:
        """Start a session with a one-time code. Raises InvalidSignIn, BadRequest, Unauthorized and as `admit`."""
        name, claims = await self._flows.use_code(code, cookie)
        found = await self._find(_BY_IDENTITY, issuer_=claims.issuer, subject_=claims.subject)
        found = found or await self._new_identity(name, claims)
        if not found["may_sign_in"]:
            raise Unauthorized
        return await self.admit(found, device)

    async def unlink(self, user_id: UUID, link_id: UUID) -> None:
        """Delete a link. Raises NotFound, and BadRequest for the last way to sign in."""
        # The lock lets one of two deletions see the other.
        user = await self._locked(user_id)
        is_own = (ExternalIdentity.user_id == user_id, ExternalIdentity.id == link_id)
        deleted = (await execute_core(self._session, delete(ExternalIdentity).where(*is_own))).rowcount
        if not deleted:
            raise NotFound("Link not found")
        left = await self._session.scalar(select(func.count()).where(ExternalIdentity.user_id == user_id))
        if not left and user.password_hash == NO_PASSWORD:
            raise BadRequest("This is the only way to sign in: set a password or link another provider before")
        await notify(self._session, self._context, user_id, "sign-in-link-changed")
        await self._session.commit()
        log.info("sign-in link deleted", user_id=str(user_id))

    async def _check_session(self, flow: Flow) -> None:
        """Keep the session that began the flow active until the end of the transaction. Raises SessionEnded."""
        # The user first, as all that changes or deletes an account does.
        active = select(User.id).where(User.id == flow.user_id, User.is_active.is_(True)).with_for_update()
        parameters = {"session": flow.session_id, "user": flow.user_id}
        if (
            await self._session.scalar(active) is None
            or (await execute_core(self._session, _LINKING_SESSION, parameters)).one_or_none() is None
        ):
            raise SessionEnded

    async def _new_identity(self, name: str, claims: Claims) -> Any:
        """Link an unknown identity to the account with its address, or create one; both sides must have verified it."""
        if claims.email is None or not claims.email_verified:
            # Whether an account has the address is not told to those who have not proved it.
            raise BadRequest(UNVERIFIED)
        address = valid_email(claims.email)
        found = await self._find(_BY_ADDRESS, address=address)
        if found is None:
            check_registration(self._context, None)
            await insert_user(self._session, address, NO_PASSWORD, "user", is_verified=True)
            found = await self._find(_BY_ADDRESS, address=address)
            await self._insert_link(found["id"], name, claims)
            log.info("user registered", user_id=str(found["id"]), provider=name)
        elif not found["email_verified"]:
            raise BadRequest(TAKEN)
        elif found["may_sign_in"]:
            await self._link(found["id"], name, claims)
        return found

    async def _link(self, user_id: UUID, name: str, claims: Claims) -> None:
        """Link an identity in the caller's transaction. Raises AlreadyLinked."""
        await self._locked(user_id)
        owned = await self._find(_BY_IDENTITY, issuer_=claims.issuer, subject_=claims.subject)
        if owned is not None and owned["id"] == user_id:
            return
        await self._insert_link(user_id, name, claims)
        await notify(self._session, self._context, user_id, "sign-in-link-changed")
        log.info("sign-in link added", user_id=str(user_id), provider=name)

    async def _insert_link(self, user_id: UUID, name: str, claims: Claims) -> None:
        identity = {"issuer": claims.issuer, "subject": claims.subject, "email": claims.email}
        statement = insert(ExternalIdentity).values(id=uuid7(), user_id=user_id, provider=name, **identity)
        with translate_constraint_errors({"uq_external_identities_issuer": AlreadyLinked}):
            await execute_core(self._session, statement)

    async def _find(self, statement: Any, **parameters: str) -> Any:
        return (await execute_core(self._session, statement, parameters)).mappings().one_or_none()
