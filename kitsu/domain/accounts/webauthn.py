"""WebAuthn: what browsers are asked about passkeys, and the checks of what they answer.

The browser makes and reads the JSON of WebAuthn, so its unknown members are ignored. A front end passes it on.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import webauthn
from webauthn.helpers import options_to_json_dict
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from kitsu.domain.fields import described

BROWSER_MILLISECONDS = 300_000  # the lifetime of a challenge
MAX_ID_BYTES = 1023
TRANSPORTS = frozenset(transport.value for transport in AuthenticatorTransport)

_BYTES = r"^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?$"
Binary = Annotated[
    str, described("Bytes in base64url.", "eyJ0eXBlIjoid2ViYXV0aG4", min_length=2, max_length=16_384, pattern=_BYTES)
]
CredentialId = Annotated[
    str, described("The id of the credential.", "AQIDBA", min_length=2, max_length=1364, pattern=_BYTES)
]
CredentialType = Annotated[Literal["public-key"], described("The type of the credential.", "public-key")]
UserHandle = Annotated[str, described("The id of the user, in base64url.", "AQIDBA", max_length=128, pattern=_BYTES)]
Options = Annotated[
    dict[str, Any],
    described("The options for the browser, in the JSON of WebAuthn.", {"challenge": "AQIDBA", "rpId": "example.org"}),
]


class Attestation(msgspec.Struct, rename={"client_data": "clientDataJSON", "attestation_object": "attestationObject"}):
    """The `response` of a new passkey."""

    client_data: Binary
    attestation_object: Binary
    transports: Annotated[list[str], described("How browsers reach it.", ["internal"], max_length=16)] = []


class NewCredential(msgspec.Struct):
    """A new passkey: `toJSON()` of what `navigator.credentials.create()` returned."""

    id: CredentialId
    type: CredentialType
    response: Attestation


class Assertion(
    msgspec.Struct,
    rename={"client_data": "clientDataJSON", "authenticator_data": "authenticatorData", "user_handle": "userHandle"},
):
    """The `response` of a passkey that was used."""

    client_data: Binary
    authenticator_data: Binary
    signature: Binary
    user_handle: UserHandle | None = None


class UsedCredential(msgspec.Struct):
    """A passkey that was used: `toJSON()` of what `navigator.credentials.get()` returned."""

    id: CredentialId
    type: CredentialType
    response: Assertion


class PasskeyChallenge(msgspec.Struct):
    """What a browser needs to make or to use a passkey."""

    challenge: Annotated[str, described("For the next request, within five minutes.", "eyJhbGciOiJIUzI1NiJ9.e30.c2ln")]
    options: Options


class Verified(NamedTuple):
    """A new passkey that was verified."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


class Refused(Exception):
    """What a browser sent is not a right answer; the message is for the log."""


class RelyingParty:
    """The service for which passkeys are made: they work for its domain, on pages of its origins."""

    def __init__(self, domain: str, origins: list[str], name: str) -> None:
        self._domain, self._origins, self._name = domain, origins, name

    def serves(self, origin: str) -> bool:
        """Return whether passkeys work on pages of this origin."""
        return origin in self._origins

    def creation_options(self, challenge: str, user_id: UUID, email: str, known: Sequence[Any]) -> dict[str, Any]:
        """Return the options for `navigator.credentials.create()`. `known`: the user's rows, with id and transports."""
        options = webauthn.generate_registration_options(
            rp_id=self._domain,
            rp_name=self._name,
            user_id=user_id.bytes,
            user_name=email,
            challenge=_bytes_of(challenge),
            timeout=BROWSER_MILLISECONDS,
            exclude_credentials=_descriptors(known),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.PREFERRED
            ),
        )
        return options_to_json_dict(options)

    def request_options(self, challenge: str, known: Sequence[Any] | None) -> dict[str, Any]:
        """Return the options for `navigator.credentials.get()`; None: any passkey, which has to verify its user."""
        verification = UserVerificationRequirement
        options = webauthn.generate_authentication_options(
            rp_id=self._domain,
            challenge=_bytes_of(challenge),
            timeout=BROWSER_MILLISECONDS,
            allow_credentials=None if known is None else _descriptors(known),
            user_verification=verification.REQUIRED if known is None else verification.PREFERRED,
        )
        return options_to_json_dict(options)

    def verify_new(self, challenge: str, credential: NewCredential) -> Verified:
        """Verify a new passkey. Raises Refused."""
        try:
            raw_id = raw_id_of(credential)
            response = AuthenticatorAttestationResponse(
                client_data_json=webauthn.base64url_to_bytes(credential.response.client_data),
                attestation_object=webauthn.base64url_to_bytes(credential.response.attestation_object),
            )
            found = webauthn.verify_registration_response(
                credential=RegistrationCredential(id=credential.id, raw_id=raw_id, response=response),
                expected_challenge=_bytes_of(challenge),
                expected_rp_id=self._domain,
                expected_origin=self._origins,
            )
        # The library also raises the errors of the parsers that it uses, for bytes that anyone can send.
        except Exception as error:
            raise Refused(_reason(error)) from error
        if found.credential_id != raw_id or len(raw_id) > MAX_ID_BYTES:
            raise Refused("another credential id")
        return Verified(found.credential_id, found.credential_public_key, found.sign_count)

    def verify_used(self, challenge: str, credential: UsedCredential, stored: Any, *, verifies_user: bool) -> int:
        """Verify the use of a stored passkey, and return its new count. Raises Refused."""
        handle = credential.response.user_handle
        if handle and webauthn.base64url_to_bytes(handle) != stored.user_id.bytes:
            raise Refused("another user")
        try:
            response = AuthenticatorAssertionResponse(
                client_data_json=webauthn.base64url_to_bytes(credential.response.client_data),
                authenticator_data=webauthn.base64url_to_bytes(credential.response.authenticator_data),
                signature=webauthn.base64url_to_bytes(credential.response.signature),
            )
            found = webauthn.verify_authentication_response(
                credential=AuthenticationCredential(id=credential.id, raw_id=raw_id_of(credential), response=response),
                expected_challenge=_bytes_of(challenge),
                expected_rp_id=self._domain,
                expected_origin=self._origins,
                credential_public_key=stored.public_key,
                credential_current_sign_count=stored.sign_count,
                require_user_verification=verifies_user,
            )
        except Exception as error:
            raise Refused(_reason(error)) from error
        return found.new_sign_count


def raw_id_of(credential: NewCredential | UsedCredential) -> bytes:
    """Return the bytes of a credential's id."""
    return webauthn.base64url_to_bytes(credential.id)


def _bytes_of(challenge: str) -> bytes:
    """Return the bytes that an authenticator signs for a challenge, whose text is too long for it."""
    return sha256(challenge.encode()).digest()


def _descriptors(known: Sequence[Any]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=each.credential_id, transports=[AuthenticatorTransport(name) for name in each.transports] or None
        )
        for each in known
    ]


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
