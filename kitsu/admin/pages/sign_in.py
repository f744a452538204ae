"""Sign-in and sign-out."""

import re
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect, Template

from kitsu.admin.authentication import COOKIE, SIGN_IN, SIGN_OUT, AdminRequest, session_cookie
from kitsu.admin.forms import Form, decode_credential
from kitsu.admin.navigation import CSRF_COOKIE, PATH, url
from kitsu.domain.accounts.challenges import INVALID as INVALID_CHALLENGE
from kitsu.domain.accounts.second_step import SecondStepService
from kitsu.domain.accounts.sessions import Device, SessionService
from kitsu.domain.accounts.sign_in import AccountService
from kitsu.domain.accounts.users import request_origin
from kitsu.domain.accounts.webauthn import PasskeyChallenge, UsedCredential
from kitsu.errors import AppError, Forbidden, NotFound, RateLimited, SecondFactorRequired, Unauthorized
from kitsu.web.middleware.client import DEVICE
from kitsu.web.services import service

_LOCAL = re.compile(PATH + r"(/[^\s\\\x00-\x1f]*)?")
_REFUSALS: dict[type[AppError], str] = {
    Unauthorized: "The e-mail address or the password is wrong.",
    Forbidden: "Your account has no access to this site. An administrator can make you an editor.",
    RateLimited: "There were too many attempts. Try again in {minutes} minutes.",
}


class Credentials(msgspec.Struct):
    email: str
    password: str


class SecondStep(msgspec.Struct):
    challenge: str
    code: str


class PasskeyStep(msgspec.Struct):
    challenge: str
    credential: str


SecondSteps = NamedDependency[SecondStepService]
ALONE = "passkey"
"""The step of a sign-in with a passkey in place of the password."""


class SignInController(Controller):
    dependencies = DEVICE | {
        "accounts": service(AccountService),
        "second_steps": service(SecondStepService),
        "sessions": service(SessionService),
    }

    @get(SIGN_IN)
    async def show(self, request: Request[Any, Any, Any], second_steps: SecondSteps) -> Template:
        """Show the forms."""
        return await _page(Form.empty(next=request.query_params.get("next", "")), second_steps)

    @post(SIGN_IN)
    async def sign_in(
        self,
        request: Request[Any, Any, Any],
        client_device: NamedDependency[Device],
        accounts: NamedDependency[AccountService],
        second_steps: SecondSteps,
    ) -> Response[Any]:
        """Start a session, and redirect to the page that the user wanted. With a second factor it takes two steps."""
        form = await Form.read(request)
        wanted, step = form.texts.pop("next", [""])[-1], form.texts.pop("step", [""])[-1]
        try:
            token = await _sign_in(form, step, client_device, accounts, second_steps)
        except SecondFactorRequired as error:
            return await _page(Form.empty(next=wanted, challenge=error.challenge), second_steps)
        except AppError as error:
            form.refused(error)
            form.texts |= {"password": [""], "code": [""], "next": [wanted]}
            if error.message == INVALID_CHALLENGE:
                form = Form.empty(next=wanted)
                form.message = "The time for this step is over. Sign in again."
            elif not (step and isinstance(error, Unauthorized)) and (text := _REFUSALS.get(type(error))):
                minutes = -(-int(error.headers.get("Retry-After", "0")) // 60)
                form.message = text.format(minutes=minutes)
            if step == ALONE:
                form.texts.pop("challenge", None)  # the page has a new one
            headers = {name: value for name, value in error.headers.items() if name == "Retry-After"}
            return await _page(form, second_steps, error.status, headers)
        response = Redirect(wanted if _LOCAL.fullmatch(wanted) else url("/"), status_code=303)
        response.set_cookie(session_cookie(token))
        # Forms of an earlier session are refused.
        response.delete_cookie(CSRF_COOKIE, path=PATH)
        return response

    @post(SIGN_OUT)
    async def sign_out(self, request: AdminRequest, sessions: NamedDependency[SessionService]) -> Redirect:
        """End the session."""
        with suppress(NotFound):  # it has ended meanwhile
            await sessions.end(request.user.user_id, request.user.session_id)
        response = Redirect(url(SIGN_IN, done="signed-out"), status_code=303)
        response.delete_cookie(COOKIE, path=PATH)
        response.delete_cookie(CSRF_COOKIE, path=PATH)
        return response


async def _sign_in(
    form: Form, step: str, device: Device, accounts: AccountService, second_steps: SecondStepService
) -> str:
    """Return the cookie of a new session. Raises what the services raise."""
    if not step:
        data = form.convert(Credentials)
        return await accounts.login_to_admin(data.email, data.password, device)
    if not form.text("credential"):
        second = form.convert(SecondStep)
        return await second_steps.finish_admin_login(second.challenge, second.code, device)
    third = form.convert(PasskeyStep)
    credential = decode_credential(third.credential, UsedCredential)
    if step == ALONE:
        return await second_steps.login_to_admin_with_passkey(third.challenge, credential, device)
    return await second_steps.finish_admin_login(third.challenge, credential, device)


async def _page(
    form: Form, second_steps: SecondStepService, status: int = 200, headers: dict[str, str] | None = None
) -> Template:
    passkey: PasskeyChallenge | None = None
    if second_steps.has_passkeys_at(request_origin.get()):
        with suppress(Unauthorized, NotFound):
            passkey = await second_steps.passkey_challenge(form.text("challenge") or None)
    return Template("sign_in.html", context={"form": form, "passkey": passkey}, status_code=status, headers=headers)
