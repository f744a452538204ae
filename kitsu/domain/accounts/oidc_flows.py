"""Flows of signing in with an OpenID provider: state, nonce, verifier and one-time code.

A flow is a row that is deleted by its use: first with the hash of the state, then with that of the one-time code.
Nonce and verifier are derived from the state, so that they are stored nowhere.
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlencode, urlsplit
from uuid import UUID

import msgspec
from sqlalchemy import DateTime, Interval, Text, Uuid, bindparam, delete, func, insert
from sqlalchemy.dialects.postgresql import JSONB
from uuid_utils.compat import uuid7

from kitsu.db.errors import translate_constraint_errors
from kitsu.db.models import OIDCFlow
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.identities import Identity
from kitsu.domain.accounts.opaque_tokens import derive_token, hash_token
from kitsu.errors import BadRequest, InvalidRequest, NotFound, Unauthorized

STATE_LIFETIME = timedelta(minutes=10)
CODE_LIFETIME = timedelta(seconds=60)
COOKIE = "kitsu_oidc"
_FRONT_END_PATH = re.compile(r"/(?![/\\])[^\\#\s\0-\x1f\x7f]{0,1000}")


class InvalidSignIn(BadRequest, message="The sign-in is invalid or has expired: begin again"):
    """The state, the code or the cookie is unknown, used, expired, or of another provider or browser."""


class Claims(msgspec.Struct, frozen=True):
    """What a provider says about a user."""

    issuer: str
    subject: str
    email: str | None
    email_verified: bool


class Provider(Protocol):
    """`OpenIDProvider`, whose libraries are imported only where the settings have a provider."""

    name: str
    label: str
    issuer: str

    async def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, verifier: str) -> str: ...
    async def claims(self, *, code: str, redirect_uri: str, nonce: str, verifier: str) -> Claims: ...


class Start(NamedTuple):
    """Where a browser signs in, and the cookie that it gets."""

    url: str
    cookie: str


class Flow(NamedTuple):
    """A flow that was used."""

    provider: str
    redirect_to: str
    user_id: UUID | None
    session_id: UUID | None
    claims: Any


_clock = func.clock_timestamp(type_=DateTime(timezone=True))
_INSERT = (
    insert(OIDCFlow)
    .values(
        id=bindparam("new_id", type_=Uuid),
        secret_hash=bindparam("secret", type_=Text),
        browser_hash=bindparam("browser", type_=Text),
        provider=bindparam("name", type_=Text),
        redirect_to=bindparam("path", type_=Text),
        user_id=bindparam("user", type_=Uuid),
        session_id=bindparam("session", type_=Uuid),
        claims=bindparam("said", type_=JSONB(none_as_null=True)),
        expires_at=_clock + bindparam("lifetime", type_=Interval),
    )
    .returning(OIDCFlow.id)
)
_USER_IS_GONE = {"fk_oidc_flows_user_id_users": Unauthorized}
_used = (OIDCFlow.provider, OIDCFlow.redirect_to, OIDCFlow.user_id, OIDCFlow.session_id, OIDCFlow.claims)
_USE = (
    delete(OIDCFlow)
    .where(
        OIDCFlow.secret_hash == bindparam("secret", type_=Text),
        OIDCFlow.browser_hash == bindparam("browser", type_=Text),
        OIDCFlow.expires_at > _clock,
    )
    .returning(*_used)
)
_USE_STATE = _USE.where(OIDCFlow.claims.is_(None), OIDCFlow.provider == bindparam("name", type_=Text))
_USE_CODE = _USE.where(OIDCFlow.claims.is_not(None))


class OIDCFlows:
    """Leads browsers through the sign-in with the providers of the settings."""

    def __init__(
        self,
        runner: StatementRunner,
        providers: Iterable[Provider],
        *,
        secret_key: str,
        public_url: str,
        front_end_url: str,
    ) -> None:
        self._runner = runner
        self.providers = {provider.name: provider for provider in providers}
        self._secret_key = secret_key
        self._public_url, self._front_end_url = public_url, front_end_url
        self.cookie_path = f"{urlsplit(public_url).path}/auth/oidc"
        self.is_secure = public_url.lower().startswith("https:")

    async def start(self, name: str, redirect_to: str, identity: Identity | None = None) -> Start:
        """Begin a flow, which links the provider to the account of an `identity`.

        Raises NotFound, InvalidRequest, ServiceUnavailable, and Unauthorized for a user who was deleted meanwhile.
        """
        provider = self._provider(name)
        if not _is_front_end_path(redirect_to):
            raise InvalidRequest([{"field": "redirect_to", "message": "Expected a path of the front end"}])
        state, cookie = token_urlsafe(32), token_urlsafe(32)
        url = await provider.authorization_url(
            redirect_uri=self._redirect_uri(name),
            state=state,
            nonce=self._derive("nonce", state),
            verifier=self._derive("verifier", state),
        )
        linker = {"user": identity and identity.user_id, "session": identity and identity.session_id}
        await self._store(state, cookie, STATE_LIFETIME, name=name, path=redirect_to, said=None, **linker)
        return Start(url, cookie)

    async def use_state(self, name: str, state: str | None, cookie: str | None) -> Flow:
        """End the first half of a flow. Raises InvalidSignIn, NotFound."""
        self._provider(name)
        return await self._use(_USE_STATE, state, cookie, name=name)

    async def claims(self, name: str, state: str, code: str) -> Claims:
        """Ask the provider who has signed in. Raises InvalidSignIn, ServiceUnavailable."""
        return await self._provider(name).claims(
            code=code,
            redirect_uri=self._redirect_uri(name),
            nonce=self._derive("nonce", state),
            verifier=self._derive("verifier", state),
        )

    async def issue_code(self, flow: Flow, claims: Claims, cookie: str) -> str:
        """Return the address of the front end with a one-time code."""
        code = token_urlsafe(32)
        said = msgspec.to_builtins(claims)
        values = {"name": flow.provider, "path": flow.redirect_to, "user": None, "session": None, "said": said}
        await self._store(code, cookie, CODE_LIFETIME, **values)
        return self.front_end(flow.redirect_to, code=code)

    async def use_code(self, code: str, cookie: str | None) -> tuple[str, Claims]:
        """Return the provider and the claims of a one-time code. Raises InvalidSignIn."""
        flow = await self._use(_USE_CODE, code, cookie)
        return flow.provider, msgspec.convert(flow.claims, Claims)

    def front_end(self, path: str, **query: str) -> str:
        """Return the address of a path of the front end."""
        return f"{self._front_end_url}{path}{'&' if '?' in path else '?'}{urlencode(query)}"

    def issuer_of(self, name: str) -> str:
        return self._provider(name).issuer

    def _provider(self, name: str) -> Provider:
        provider = self.providers.get(name)
        if provider is None:
            raise NotFound("Provider not found")
        return provider

    async def _store(self, secret: str, cookie: str, lifetime: timedelta, **values: Any) -> None:
        hashes = {"secret": hash_token(secret), "browser": hash_token(cookie)}
        with translate_constraint_errors(_USER_IS_GONE):
            await self._runner.write(_INSERT, {"new_id": uuid7(), "lifetime": lifetime, **hashes, **values})

    async def _use(self, statement: Any, secret: str | None, cookie: str | None, **values: str) -> Flow:
        if not secret or not cookie:
            raise InvalidSignIn
        row = await self._runner.write(
            statement, {"secret": hash_token(secret), "browser": hash_token(cookie), **values}
        )
        if row is None:
            raise InvalidSignIn
        return Flow(*row)

    def _redirect_uri(self, name: str) -> str:
        return f"{self._public_url}/auth/oidc/{name}/callback"

    def _derive(self, purpose: str, state: str) -> str:
        return derive_token(self._secret_key, f"oidc {purpose} {state}")


def _is_front_end_path(text: str) -> bool:
    """Return whether a browser that is sent to a path stays below the address of the front end."""
    path = text.partition("?")[0]
    # A server between the browser and the front end may decode it again.
    while (decoded := unquote(path)) != path:
        path = decoded
    has_dots = not {".", ".."}.isdisjoint(path.replace("\\", "/").split("/"))
    return _FRONT_END_PATH.fullmatch(text) is not None and not has_dots


def pkce_challenge(verifier: str) -> str:
    """Return the S256 challenge of a verifier."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
