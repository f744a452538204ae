"""Sign-in and sign-out."""

import re
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect, Template

from kitsu.admin.authentication import COOKIE, SIGN_IN, SIGN_OUT, AdminRequest, session_cookie
from kitsu.admin.forms import Form
from kitsu.admin.navigation import CSRF_COOKIE, PATH, url
from kitsu.domain.accounts.challenges import INVALID as INVALID_CHALLENGE
from kitsu.domain.accounts.second_factors import SecondFactorService
from kitsu.domain.accounts.sessions import Device, SessionService
from kitsu.domain.accounts.sign_in import AccountService
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


class SignInController(Controller):
    dependencies = DEVICE | {
        "accounts": service(AccountService),
        "second_factors": service(SecondFactorService),
        "sessions": service(SessionService),
    }

    @get(SIGN_IN, sync_to_thread=False)
    def show(self, request: Request[Any, Any, Any]) -> Template:
        """Show the form."""
        return _page(Form.empty(next=request.query_params.get("next", "")))

    @post(SIGN_IN)
    async def sign_in(
        self,
        request: Request[Any, Any, Any],
        client_device: NamedDependency[Device],
        accounts: NamedDependency[AccountService],
        second_factors: NamedDependency[SecondFactorService],
    ) -> Response[Any]:
        """Start a session, and redirect to the page that the user wanted. With a second factor it takes two steps."""
        form = await Form.read(request)
        wanted = form.texts.pop("next", [""])[-1]
        is_second_step = bool(form.text("challenge"))
        try:
            if is_second_step:
                step = form.convert(SecondStep)
                token = await second_factors.finish_admin_login(step.challenge, step.code, client_device)
            else:
                data = form.convert(Credentials)
                token = await accounts.login_to_admin(data.email, data.password, client_device)
        except SecondFactorRequired as error:
            return _page(Form.empty(next=wanted, challenge=error.challenge))
        except AppError as error:
            form.refused(error)
            if error.message == INVALID_CHALLENGE:
                form = Form.empty()
                form.message = "The time for the second step is over. Sign in again."
            elif not is_second_step and (text := _REFUSALS.get(type(error))):
                minutes = -(-int(error.headers.get("Retry-After", "0")) // 60)
                form.message = text.format(minutes=minutes)
            headers = {name: value for name, value in error.headers.items() if name == "Retry-After"}
            form.texts |= {"password": [""], "code": [""], "next": [wanted]}
            return _page(form, error.status, headers)
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


def _page(form: Form, status: int = 200, headers: dict[str, str] | None = None) -> Template:
    return Template("sign_in.html", context={"form": form}, status_code=status, headers=headers)
