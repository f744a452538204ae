"""The requests to an OpenID provider: its metadata and keys, and responses of limited size.

Only `openid.py` imports this module; `kitsu check` loads it by name.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Any, TypeVar

import httpx
import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry

from kitsu.addresses import is_secure

T = TypeVar("T")

TIMEOUT_SECONDS = 5.0
TOTAL_SECONDS = 8.0  # of the requests of one operation
MAX_RESPONSE_BYTES = 1_000_000


class Metadata(msgspec.Struct):
    """The part of a provider's metadata that Kitsu uses."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class KeyEntries(msgspec.Struct):
    """The keys of a provider as it sends them."""

    keys: list[Any]


class WrongMetadata(Exception):
    """The metadata or the keys of a provider can't be used; the message says why."""


class ResponseTooLarge(Exception):
    """A response of a provider has more than MAX_RESPONSE_BYTES."""


UNAVAILABLE = (
    *(httpx.HTTPError, httpx.InvalidURL, TimeoutError, ResponseTooLarge),
    *(msgspec.MsgspecError, UnicodeError, RecursionError),  # the last one for JSON that is nested deeply
)
"""What a request raises when the provider does not answer, or with anything but the expected JSON."""


class OpenIDClient:
    """Sends requests to a provider. They raise UNAVAILABLE."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._tls = ssl.create_default_context()

    async def metadata(self) -> Metadata:
        """Return the metadata. Raises WrongMetadata."""
        address = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        metadata = await self.get(address, Metadata)
        if metadata.issuer != self._issuer:
            raise WrongMetadata(f"its metadata has the issuer {metadata.issuer[:200]!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
            endpoint = getattr(metadata, name)
            if endpoint is not None and not is_secure(endpoint, may_have_query=True):
                raise WrongMetadata(f"its {name} is not an https address")
        return metadata

    async def keys(self, metadata: Metadata) -> list[Any]:
        """Return the keys that verify signatures. Raises WrongMetadata if no key does."""
        keys = []
        for entry in (await self.get(metadata.jwks_uri, KeyEntries)).keys:
            # RFC 7517, section 5: keys that can't be read are ignored.
            with suppress(JoseError, ValueError, TypeError, LookupError):
                if entry["kty"] in ("RSA", "EC") and entry.get("use", "sig") == "sig":
                    keys.append(JWKRegistry.import_key(entry))
        if not keys:
            raise WrongMetadata("none of its keys can be used")
        return keys

    async def get(self, address: str, kind: type[T], **headers: str) -> T:
        """Return the JSON at an address."""
        return read_json(*await self.send("GET", address, headers=headers), kind)

    async def send(self, method: str, address: str, **options: Any) -> tuple[httpx.Response, bytes]:
        """Return the response of any status, and its body."""
        # A compressed body may be small on its way and fill the memory.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        body = bytearray()
        async with (
            httpx.AsyncClient(verify=self._tls, timeout=TIMEOUT_SECONDS, headers=headers) as client,
            client.stream(method, address, **options) as response,
        ):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_RESPONSE_BYTES:
                    raise ResponseTooLarge
        return response, bytes(body)


async def problem_of(issuer: str) -> str | None:
    """Return why no user can sign in with a provider, or None. Fetches its metadata and its keys."""
    client = OpenIDClient(issuer)
    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            await client.keys(await client.metadata())
    except WrongMetadata as error:
        return str(error)
    except UNAVAILABLE as error:
        reason, *_ = (str(error) or type(error).__name__).splitlines()
        return f"{issuer} does not answer as expected: {reason}"
    return None


def read_json(response: httpx.Response, body: bytes, kind: type[T]) -> T:
    """Return the JSON of a successful response."""
    response.raise_for_status()
    return msgspec.json.decode(body, type=kind)
