"""The paths of verification, password reset and change of the e-mail address."""

from typing import Annotated

import msgspec
from litestar import Controller, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, UnsetType

from kitsu.controllers.accounts.auth import ClientDevice, Email, Password
from kitsu.domain.accounts.recovery import RecoveryService
from kitsu.domain.fields import described
from kitsu.errors import BadRequest, ErrorDetail, InvalidRequest, RateLimited
from kitsu.web.authentication import GUESTS, PUBLIC
from kitsu.web.guards import rate_limited, requires
from kitsu.web.middleware.client import DEVICE
from kitsu.web.openapi import errors
from kitsu.web.request import GuestRequest, ViewerRequest
from kitsu.web.services import service

Recovery = NamedDependency[RecoveryService]
Token = Annotated[
    str, described("The `token` of the link.", "kB3v9Qm1Zt7yXw5LhRk2Pd8sUaEj4NfCgVo6Ti0bMxY", max_length=200)
]
MAILS = [rate_limited("mail-address")]


class LinkSent(msgspec.Struct):
    """The same for each address, whether or not it has an account."""

    message: Annotated[str, described("What happens next.", "If the address has an account, a mail is sent")]


class MailAddress(msgspec.Struct, forbid_unknown_fields=True):
    """The address of an account."""

    email: Email


class OptionalMailAddress(msgspec.Struct, forbid_unknown_fields=True):
    """The address of an account, which signed-in users omit."""

    email: Email | UnsetType = UNSET


class MailToken(msgspec.Struct, forbid_unknown_fields=True):
    """The token of a link in a mail."""

    token: Token


class PasswordReset(msgspec.Struct, forbid_unknown_fields=True):
    """The token of a link in a mail, and the new password."""

    token: Token
    new_password: Annotated[Password, described("The password from now on, from 8 characters to 1024 bytes.")]


class EmailChange(msgspec.Struct, forbid_unknown_fields=True):
    """The new address, and the password of the current user."""

    email: Email
    password: Password


SENT = LinkSent("If the address has an account, a mail is sent")


class RecoveryController(Controller):
    tags = ["Accounts"]
    dependencies = DEVICE | {"recovery": service(RecoveryService)}

    @post("/auth/verify/request", opt=GUESTS, guards=MAILS, status_code=202)
    async def request_verification(
        self, request: GuestRequest, data: JSONBody[OptionalMailAddress], recovery: Recovery
    ) -> LinkSent:
        """Request a verification mail. Its link works for one day. Without a token for the account of `email`; the
        response is the same for all addresses.
        """
        if data.email is not UNSET:
            await recovery.request_link("verify-email", data.email)
        elif request.user is not None:
            await recovery.request_own_verification(request.user)
        else:
            raise InvalidRequest.of(ErrorDetail("email", "Missing"))
        return SENT

    @post("/auth/verify", opt=PUBLIC, guards=MAILS, status_code=204, responses=errors(BadRequest))
    async def verify_email(self, data: JSONBody[MailToken], recovery: Recovery) -> None:
        """Verify the e-mail address. Takes the token of a verification mail once."""
        await recovery.verify(data.token)

    @post("/auth/password/forgot", opt=PUBLIC, guards=MAILS, status_code=202)
    async def forgot_password(self, data: JSONBody[MailAddress], recovery: Recovery) -> LinkSent:
        """Request a mail to reset the password. Its link works for one hour. The response is the same for all
        addresses.
        """
        await recovery.request_link("reset-password", data.email)
        return SENT

    @post("/auth/password/reset", opt=PUBLIC, guards=MAILS, status_code=204, responses=errors(BadRequest))
    async def reset_password(self, data: JSONBody[PasswordReset], recovery: Recovery) -> None:
        """Reset the password. Takes the token of the mail once. All sessions end, and the user is told by mail."""
        await recovery.reset_password(data.token, data.new_password)

    @patch(
        "/users/me/email",
        guards=[requires("write:profile")],
        status_code=202,
        responses=errors(BadRequest, RateLimited),
    )
    async def change_email(
        self, request: ViewerRequest, data: JSONBody[EmailChange], client_device: ClientDevice, recovery: Recovery
    ) -> LinkSent:
        """Change the e-mail address. Requires the password. The address changes when the link in the mail to the new
        one is followed, within one day.
        """
        await recovery.request_email_change(request.user, data.email, data.password, client_device)
        return LinkSent("A mail is sent to the new address")

    @post("/auth/email/confirm", opt=PUBLIC, guards=MAILS, status_code=204, responses=errors(BadRequest))
    async def confirm_email(self, data: JSONBody[MailToken], recovery: Recovery) -> None:
        """Confirm a new e-mail address. Takes the token of the mail once. A verified old address gets a mail whose link
        reverts the change for 7 days.
        """
        await recovery.confirm_email(data.token)

    @post("/auth/email/revert", opt=PUBLIC, guards=MAILS, status_code=204, responses=errors(BadRequest))
    async def revert_email(self, data: JSONBody[MailToken], recovery: Recovery) -> None:
        """Revert a change of the e-mail address. Takes the token of the mail once. All sessions end, and second
        factors and links of providers that were added since the change are removed. The password should be reset
        afterwards.
        """
        await recovery.revert_email(data.token)
