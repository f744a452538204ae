"""An authenticator in software: it makes and uses passkeys as a browser and a device do together."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from secrets import token_bytes
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import encode_cbor

from tests.accounts import PASSWORD, bearer

ORIGIN = "http://localhost:3000"
PRESENT, VERIFIED, HAS_KEY = 1, 4, 64


class Authenticator:
    """A passkey on a page of an origin. Its attributes say how it differs from a good one."""

    def __init__(self) -> None:
        self.origin = ORIGIN
        self.domain: str | None = None  # None: that of the options
        self.flags = PRESENT | VERIFIED
        self.count = 0
        self.counts = False
        self.credential_id = token_bytes(32)
        self.user_handle: str | None = None
        self._key = generate_private_key(SECP256R1())

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what `navigator.credentials.create()` would."""
        self.user_handle = options["user"]["id"]
        numbers = self._key.public_key().public_numbers()
        key = encode_cbor({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
        data = self._data(self.domain or options["rp"]["id"], self.flags | HAS_KEY)
        data += bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + key
        attestation = encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})
        response = {
            "clientDataJSON": base64url(self._client_data("webauthn.create", options)),
            "attestationObject": base64url(attestation),
            "transports": ["internal", "from-the-future"],
        }
        return self._credential(response)

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what `navigator.credentials.get()` would."""
        self.count += self.counts
        client_data = self._client_data("webauthn.get", options)
        data = self._data(self.domain or options["rpId"], self.flags)
        signature = self._key.sign(data + sha256(client_data).digest(), ECDSA(SHA256()))
        response = {
            "clientDataJSON": base64url(client_data),
            "authenticatorData": base64url(data),
            "signature": base64url(signature),
            "userHandle": self.user_handle,
        }
        return self._credential(response)

    def _data(self, domain: str, flags: int) -> bytes:
        return sha256(domain.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client_data(self, kind: str, options: dict[str, Any]) -> bytes:
        return json.dumps({"type": kind, "challenge": options["challenge"], "origin": self.origin}).encode()

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        credential_id = base64url(self.credential_id)
        return {
            "id": credential_id,
            "rawId": credential_id,
            "type": "public-key",
            "response": response,
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
        }


async def add_passkey(
    client: httpx.AsyncClient, tokens: dict[str, str], authenticator: Authenticator, name: str = "Phone"
) -> httpx.Response:
    """Add a passkey to a user's account and return the response."""
    headers = bearer(tokens)
    path = "/auth/second-factor/passkeys"
    started = await client.post(f"{path}/options", json={"password": PASSWORD}, headers=headers)
    assert started.status_code == 200, started.text
    credential = authenticator.create(started.json()["options"])
    body = {"challenge": started.json()["challenge"], "name": name, "credential": credential}
    return await client.post(path, json=body, headers=headers)


async def passkey_options(client: httpx.AsyncClient, challenge: str) -> dict[str, Any]:
    """Return the options for the second step of a login."""
    response = await client.post("/auth/login/second-factor/passkey/options", json={"challenge": challenge})
    assert response.status_code == 200, response.text
    options: dict[str, Any] = response.json()["options"]
    return options


async def answer_with_passkey(
    client: httpx.AsyncClient, challenge: str, authenticator: Authenticator
) -> httpx.Response:
    """Send the second step of a login with a passkey and return the response."""
    credential = authenticator.get(await passkey_options(client, challenge))
    body = {"challenge": challenge, "credential": credential}
    return await client.post("/auth/login/second-factor/passkey", json=body)


def base64url(content: bytes) -> str:
    """Return the text of bytes in the JSON of WebAuthn."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Return the bytes of a text in the JSON of WebAuthn."""
    return urlsafe_b64decode(f"{text}===")
