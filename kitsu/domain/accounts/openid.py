"""An OpenID provider: its cached metadata and keys, the code's exchange, and the checks of the ID token.

`kitsu/parts/accounts.py` loads it by name, and only with a provider in the settings: its libraries take memory.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec
import structlog
from joserfc import jws, jwt
from joserfc.errors import JoseError

from kitsu.domain.accounts.oidc_flows import Claims, InvalidSignIn, pkce_challenge
from kitsu.domain.accounts.openid_client import (
    TOTAL_SECONDS,
    UNAVAILABLE,
    Metadata,
    OpenIDClient,
    WrongMetadata,
    read_json,
)
from kitsu.domain.concurrency import released_slot
from kitsu.errors import ServiceUnavailable

log = structlog.get_logger("kitsu.security")

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
MAX_AGE_SECONDS = 3600.0  # of the metadata and the keys
KEYS_SECONDS = 60.0  # between two fetches of the keys, for key ids that are unknown
LEEWAY_SECONDS = 60
MAX_TOKEN_AGE_SECONDS = 600
MAX_TEXT_LENGTH = 255


class TokenResponse(msgspec.Struct):
    """The part of a token response that Kitsu uses."""

    id_token: str
    access_token: str | None = None


class OpenIDProvider:
    """A provider, with which this process shares its metadata and keys for an hour."""

    def __init__(self, *, name: str, label: str, issuer: str, client_id: str, client_secret: str, scopes: str) -> None:
        self.name, self.label, self.issuer = name, label, issuer
        self._client_id, self._client_secret, self._scopes = client_id, client_secret, scopes
        self._client = OpenIDClient(issuer)
        self._lock = asyncio.Lock()
        self._metadata: Metadata | None = None
        self._metadata_at = self._keys_at = 0.0
        self._keys: list[Any] | None = None

    async def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Return where the browser signs in. Raises ServiceUnavailable."""
        metadata = await self._reach(self._discover())
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": self._scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": pkce_challenge(verifier),
            "code_challenge_method": "S256",
        }
        separator = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return f"{metadata.authorization_endpoint}{separator}{urlencode(query)}"

    async def claims(self, *, code: str, redirect_uri: str, nonce: str, verifier: str) -> Claims:
        """Exchange a code, and return who has signed in. Raises InvalidSignIn, ServiceUnavailable."""
        claims: Claims = await self._reach(self._claims(code, redirect_uri, nonce, verifier))
        return claims

    async def _reach(self, work: Any) -> Any:
        """Wait for the provider without a slot. Raises ServiceUnavailable when it is away."""
        try:
            with released_slot():
                async with asyncio.timeout(TOTAL_SECONDS):
                    return await work
        except WrongMetadata as error:
            log.error("sign-in provider has wrong metadata", provider=self.name, problem=str(error))  # noqa: TRY400
            raise ServiceUnavailable from error
        except UNAVAILABLE as error:
            log.warning("sign-in provider unavailable", provider=self.name, error=type(error).__name__)
            raise ServiceUnavailable from error

    async def _claims(self, code: str, redirect_uri: str, nonce: str, verifier: str) -> Claims:
        metadata = await self._discover()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        auth: httpx.Auth = httpx.Auth()  # none
        methods = metadata.token_endpoint_auth_methods_supported
        if "client_secret_post" in methods and "client_secret_basic" not in methods:
            form |= {"client_id": self._client_id, "client_secret": self._client_secret}
        else:
            auth = httpx.BasicAuth(quote(self._client_id, safe=""), quote(self._client_secret, safe=""))
        response, body = await self._client.send("POST", metadata.token_endpoint, data=form, auth=auth)
        if 400 <= response.status_code < 500 and response.status_code != httpx.codes.TOO_MANY_REQUESTS:
            log.warning("sign-in provider refused a code", provider=self.name, status=response.status_code)
            raise InvalidSignIn
        tokens = read_json(response, body, TokenResponse)
        claims = await self._verified(metadata, tokens.id_token, nonce)
        if "email" not in claims and metadata.userinfo_endpoint and tokens.access_token:
            claims |= await self._userinfo(metadata.userinfo_endpoint, tokens.access_token, claims["sub"])
        email = claims.get("email")
        is_verified = claims.get("email_verified")
        return Claims(
            issuer=self.issuer,
            subject=claims["sub"],
            email=email if _is_text(email) else None,
            email_verified=is_verified is True or is_verified == "true",
        )

    async def _userinfo(self, endpoint: str, access_token: str, subject: str) -> dict[str, Any]:
        found = await self._client.get(endpoint, dict[str, Any], Authorization=f"Bearer {access_token}")
        if found.get("sub") != subject:
            raise InvalidSignIn
        return {name: found[name] for name in ("email", "email_verified") if name in found}

    async def _verified(self, metadata: Metadata, token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token. Raises InvalidSignIn."""
        header = self._read(lambda: jws.extract_compact(token.encode()).headers())
        if header.get("alg") not in ALGORITHMS:
            raise InvalidSignIn
        key = await self._key(metadata, header.get("kid"))
        claims = self._read(lambda: jwt.decode(token, key, algorithms=ALGORITHMS).claims)
        if problem := self._problem(claims, nonce, time.time()):
            log.warning("ID token refused", provider=self.name, error=problem)
            raise InvalidSignIn
        return claims

    def _read(self, part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a part of an ID token. Raises InvalidSignIn."""
        try:
            return part()
        except (JoseError, ValueError, TypeError, RecursionError) as error:  # of joserfc, for parts of odd types
            log.warning("ID token refused", provider=self.name, error=type(error).__name__)
            raise InvalidSignIn from error

    def _problem(self, claims: Mapping[str, Any], nonce: str, now: float) -> str | None:
        """Return the name of the first claim that is wrong."""
        audience: Any = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
        expires, issued = _number(claims.get("exp")), _number(claims.get("iat"))
        is_for_us = self._client_id in audiences
        checks = {
            "iss": claims.get("iss") == self.issuer,
            "aud": is_for_us,
            # A token for several clients names the one that asked for it.
            "azp": is_for_us and claims.get("azp", self._client_id if len(audiences) == 1 else None) == self._client_id,
            "exp": now < expires + LEEWAY_SECONDS,
            "iat": now - MAX_TOKEN_AGE_SECONDS < issued < now + LEEWAY_SECONDS,
            "nonce": claims.get("nonce") == nonce,
            "sub": _is_text(claims.get("sub")),
        }
        return next((name for name, is_right in checks.items() if not is_right), None)

    async def _key(self, metadata: Metadata, kid: object) -> Any:
        """Return the key with this id, and fetch the keys again for an unknown one. Raises InvalidSignIn."""
        async with self._lock:
            age = time.monotonic() - self._keys_at
            if self._keys is None or age > MAX_AGE_SECONDS or (_find(self._keys, kid) is None and age > KEYS_SECONDS):
                self._keys = await self._client.keys(metadata)
                self._keys_at = time.monotonic()
        key = _find(self._keys, kid)
        if key is None:
            raise InvalidSignIn
        return key

    async def _discover(self) -> Metadata:
        async with self._lock:
            if self._metadata is None or time.monotonic() - self._metadata_at > MAX_AGE_SECONDS:
                self._metadata = await self._client.metadata()
                self._metadata_at = time.monotonic()
        return self._metadata


def _find(keys: list[Any], kid: object) -> Any:
    """Return the key with this id; without an id the only key. None if it does not exist."""
    if kid is None:
        return keys[0] if len(keys) == 1 else None
    return next((key for key in keys if key.kid == kid), None)


def _is_text(value: object) -> bool:
    """Return whether a claim is a text that the database can store."""
    if not isinstance(value, str) or "\0" in value:
        return False
    return 0 < len(value) <= MAX_TEXT_LENGTH and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _number(value: object) -> float:
    """Return a number, or one that no check accepts."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
