"""The paths of second factors: /auth/second-factor, and the second step of a login with a code."""

from typing import Annotated

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from kitsu.controllers.accounts.auth import ClientDevice, Password
from kitsu.domain.accounts.second_factors import RecoveryCodes, SecondFactor, SecondFactorService, TotpSetUp
from kitsu.domain.accounts.second_step import SecondStepService
from kitsu.domain.accounts.sessions import Tokens
from kitsu.domain.fields import described
from kitsu.errors import BadRequest, Conflict, NotFound, RateLimited, Unauthorized
from kitsu.web.authentication import PUBLIC
from kitsu.web.middleware.client import DEVICE
from kitsu.web.openapi import errors
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

SecondFactors = NamedDependency[SecondFactorService]
TotpCode = Annotated[str, described("The six digits that the app shows.", "123456", max_length=64)]
AnyCode = Annotated[str, described("A code of the app, or a recovery code.", "123456", max_length=64)]
ChallengeText = Annotated[
    str, described("The `challenge` of the login's 401.", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl", max_length=2048)
]


class PasswordProof(msgspec.Struct, forbid_unknown_fields=True):
    """The password of the current user, for a change of the second factor."""

    password: Password


class Confirmation(msgspec.Struct, forbid_unknown_fields=True):
    """The first code of an authenticator app."""

    code: TotpCode


class PasswordAndCode(msgspec.Struct, forbid_unknown_fields=True):
    """The password of the current user, and a code if the user has TOTP."""

    password: Password
    code: AnyCode | None = None


class SecondStep(msgspec.Struct, forbid_unknown_fields=True):
    """The second step of a login."""

    challenge: ChallengeText
    code: AnyCode


class SecondFactorController(Controller):
    path = "/auth"
    tags = ["Accounts"]
    dependencies = DEVICE | {"second_factors": service(SecondFactorService), "second_steps": service(SecondStepService)}

    @post("/login/second-factor", opt=PUBLIC, status_code=200, responses=errors(Unauthorized, RateLimited))
    async def finish_login(
        self, data: JSONBody[SecondStep], client_device: ClientDevice, second_steps: NamedDependency[SecondStepService]
    ) -> Tokens:
        """Finish a login. Takes the challenge of the first step and a code. A challenge works for five minutes, until
        it succeeds; each code works once.
        """
        return await second_steps.finish_login(data.challenge, data.code, client_device)

    @get("/second-factor")
    async def get_second_factor(self, request: ViewerRequest, second_factors: SecondFactors) -> SecondFactor:
        """Get the second factors of the current user."""
        return await second_factors.state(request.user.user_id)

    @post("/second-factor/totp", responses=errors(BadRequest, Conflict, RateLimited))
    async def start_totp(
        self,
        request: ViewerRequest,
        data: JSONBody[PasswordProof],
        client_device: ClientDevice,
        second_factors: SecondFactors,
    ) -> TotpSetUp:
        """Start TOTP. Requires the password. The response has the secret for an authenticator app. TOTP counts once it
        is confirmed; started again before, it has a new secret.
        """
        return await second_factors.start_totp(request.user, data.password, client_device)

    @post("/second-factor/totp/confirm", status_code=200, responses=errors(BadRequest, RateLimited))
    async def confirm_totp(
        self, request: ViewerRequest, data: JSONBody[Confirmation], second_factors: SecondFactors
    ) -> RecoveryCodes:
        """Confirm TOTP. Takes the first code of the app. From now on a login needs a second factor. The response has
        recovery codes if it is the first second factor of the user.
        """
        return await second_factors.confirm_totp(request.user, data.code)

    @delete("/second-factor/totp", responses=errors(BadRequest, NotFound, RateLimited))
    async def delete_totp(
        self,
        request: ViewerRequest,
        data: JSONBody[PasswordProof],
        client_device: ClientDevice,
        second_factors: SecondFactors,
    ) -> None:
        """Delete TOTP. Requires the password. Without a passkey, a login needs only the password afterwards."""
        await second_factors.remove_totp(request.user, data.password, client_device)

    @post("/second-factor/recovery-codes", status_code=200, responses=errors(BadRequest, RateLimited))
    async def renew_recovery_codes(
        self,
        request: ViewerRequest,
        data: JSONBody[PasswordAndCode],
        client_device: ClientDevice,
        second_factors: SecondFactors,
    ) -> RecoveryCodes:
        """Replace the recovery codes. Requires the password, and a code if the user has TOTP. The old recovery codes
        stop working.
        """
        return await second_factors.renew_recovery_codes(request.user, data.password, data.code, client_device)

    @delete("/second-factor", responses=errors(BadRequest, RateLimited))
    async def delete_second_factor(
        self,
        request: ViewerRequest,
        data: JSONBody[PasswordProof],
        client_device: ClientDevice,
        second_factors: SecondFactors,
    ) -> None:
        """Delete the second factors of the current user. Requires the password. A login needs only the password
        afterwards.
        """
        await second_factors.turn_off(request.user, data.password, client_device)
