"""The paths of passkeys: /auth/second-factor/passkeys, and the second step of a login with one."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, delete, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.controllers.accounts.auth import ClientDevice
from kitsu.controllers.accounts.second_factors import ChallengeText, PasswordProof, SecondFactors
from kitsu.domain.accounts.passkeys import PasskeyName
from kitsu.domain.accounts.second_factors import AddedPasskey, SecondFactorService
from kitsu.domain.accounts.second_step import SecondStepService
from kitsu.domain.accounts.sessions import Tokens
from kitsu.domain.accounts.webauthn import NewCredential, PasskeyChallenge, UsedCredential
from kitsu.domain.fields import described
from kitsu.errors import BadRequest, Conflict, NotFound, RateLimited, Unauthorized
from kitsu.web.authentication import PUBLIC
from kitsu.web.middleware.client import DEVICE
from kitsu.web.openapi import errors
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

SecondSteps = NamedDependency[SecondStepService]


class NewPasskey(msgspec.Struct, forbid_unknown_fields=True):
    """A passkey that the browser has made."""

    challenge: Annotated[
        str, described("The `challenge` of its options.", "eyJhbGciOiJIUzI1NiJ9.e30.c2ln", max_length=2048)
    ]
    name: PasskeyName
    credential: NewCredential


class LoginChallenge(msgspec.Struct, forbid_unknown_fields=True):
    """The challenge of a login."""

    challenge: ChallengeText


class PasskeyStep(msgspec.Struct, forbid_unknown_fields=True):
    """The second step of a login with a passkey."""

    challenge: ChallengeText
    credential: UsedCredential


class PasskeyController(Controller):
    path = "/auth"
    tags = ["Accounts"]
    dependencies = DEVICE | {"second_factors": service(SecondFactorService), "second_steps": service(SecondStepService)}

    @post("/login/second-factor/passkey/options", opt=PUBLIC, status_code=200, responses=errors(Unauthorized, NotFound))
    async def get_passkey_options(self, data: JSONBody[LoginChallenge], second_steps: SecondSteps) -> PasskeyChallenge:
        """Get the options for `navigator.credentials.get()`. Takes the challenge of the first step of a login."""
        return await second_steps.passkey_challenge(data.challenge)

    @post("/login/second-factor/passkey", opt=PUBLIC, status_code=200, responses=errors(Unauthorized, RateLimited))
    async def finish_login_with_passkey(
        self, data: JSONBody[PasskeyStep], client_device: ClientDevice, second_steps: SecondSteps
    ) -> Tokens:
        """Finish a login with a passkey. Takes the challenge of the first step and the passkey's answer."""
        return await second_steps.finish_login(data.challenge, data.credential, client_device)

    @post("/second-factor/passkeys/options", status_code=200, responses=errors(BadRequest, RateLimited))
    async def start_passkey(
        self,
        request: ViewerRequest,
        data: JSONBody[PasswordProof],
        client_device: ClientDevice,
        second_factors: SecondFactors,
    ) -> PasskeyChallenge:
        """Get the options for `navigator.credentials.create()`. Requires the password."""
        return await second_factors.start_passkey(request.user, data.password, client_device)

    @post("/second-factor/passkeys", responses=errors(BadRequest, Conflict))
    async def add_passkey(
        self, request: ViewerRequest, data: JSONBody[NewPasskey], second_factors: SecondFactors
    ) -> AddedPasskey:
        """Add a passkey. Takes what the browser has made. From now on a login needs a second factor. The response has
        recovery codes if it is the first second factor of the user.
        """
        return await second_factors.add_passkey(request.user, data.challenge, data.name, data.credential)

    @delete("/second-factor/passkeys/{passkey_id:str}", responses=errors(BadRequest, NotFound, RateLimited))
    async def delete_passkey(
        self,
        request: ViewerRequest,
        passkey_id: FromPath[UUID],
        data: JSONBody[PasswordProof],
        client_device: ClientDevice,
        second_factors: SecondFactors,
    ) -> None:
        """Delete a passkey. Requires the password. Without another passkey and without TOTP, a login needs only the
        password afterwards.
        """
        await second_factors.remove_passkey(request.user, passkey_id, data.password, client_device)
