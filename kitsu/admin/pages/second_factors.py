"""The user's own second factor: set it up with a QR code, replace the recovery codes, turn it off."""

from pkgutil import resolve_name
from typing import Any

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect, Template

from kitsu.admin.authentication import SECOND_FACTOR, AdminRequest
from kitsu.admin.forms import Form
from kitsu.admin.navigation import see
from kitsu.domain.accounts.second_factors import SecondFactorService
from kitsu.domain.accounts.sessions import Device
from kitsu.errors import AppError
from kitsu.web.middleware.client import DEVICE
from kitsu.web.services import service

SecondFactors = NamedDependency[SecondFactorService]
ClientDevice = NamedDependency[Device]


class Password(msgspec.Struct, forbid_unknown_fields=True):
    password: str


class Code(msgspec.Struct, forbid_unknown_fields=True):
    code: str


class PasswordAndCode(msgspec.Struct, forbid_unknown_fields=True):
    password: str
    code: str


class SecondFactorController(Controller):
    path = SECOND_FACTOR
    dependencies = DEVICE | {"second_factors": service(SecondFactorService)}

    @get("/")
    async def show(self, request: AdminRequest, second_factors: SecondFactors) -> Template:
        """Show the second factor, or how to set it up."""
        return await _page(request, second_factors, Form.empty())

    @post("/start", status_code=200)
    async def start(
        self, request: AdminRequest, client_device: ClientDevice, second_factors: SecondFactors
    ) -> Template:
        """Show a new secret as a QR code."""
        form = await Form.read(request)
        try:
            set_up = await second_factors.start_totp(request.user, form.convert(Password).password, client_device)
        except AppError as error:
            return await _page(request, second_factors, form, error)
        # By name: only this page needs the package.
        picture = resolve_name("segno:make")(set_up.uri).svg_inline(scale=5, dark="#000", light="#fff")
        context = {"form": Form.empty(), "secret": set_up.secret, "picture": picture}
        return Template("second_factor/totp.html", context=context, headers={"Cache-Control": "no-store"})

    @post("/confirm", status_code=200)
    async def confirm(self, request: AdminRequest, second_factors: SecondFactors) -> Template:
        """Turn the second factor on, and show the recovery codes."""
        form = await Form.read(request)
        try:
            made = await second_factors.confirm_totp(request.user, form.convert(Code).code)
        except AppError as error:
            form.refused(error).texts["code"] = [""]
            context = {"form": form, "secret": None, "picture": None}
            return Template("second_factor/totp.html", context=context, status_code=error.status)
        return _codes(made.recovery_codes)

    @post("/recovery-codes", status_code=200)
    async def renew(
        self, request: AdminRequest, client_device: ClientDevice, second_factors: SecondFactors
    ) -> Template:
        """Show new recovery codes."""
        form = await Form.read(request)
        try:
            data = form.convert(PasswordAndCode)
            made = await second_factors.renew_recovery_codes(request.user, data.password, data.code, client_device)
        except AppError as error:
            return await _page(request, second_factors, form, error)
        return _codes(made.recovery_codes)

    @post("/turn-off")
    async def turn_off(
        self, request: AdminRequest, client_device: ClientDevice, second_factors: SecondFactors
    ) -> Template | Redirect:
        """Turn the second factor off."""
        form = await Form.read(request)
        try:
            await second_factors.turn_off(request.user, form.convert(Password).password, client_device)
        except AppError as error:
            return await _page(request, second_factors, form, error)
        return see(SECOND_FACTOR, done="second-factor-off")


def _codes(codes: list[str]) -> Template:
    headers = {"Cache-Control": "no-store"}
    return Template("second_factor/recovery_codes.html", context={"codes": codes}, headers=headers)


async def _page(
    request: AdminRequest, factors: SecondFactorService, form: Form, error: AppError | None = None
) -> Template:
    if error is not None:
        form.refused(error)
        if error.status == 401:
            form.message = "The password or the code is wrong."
        form.texts |= {"password": [""], "code": [""]}
    headers = {name: value for name, value in (error.headers if error else {}).items() if name == "Retry-After"}
    context: dict[str, Any] = {"form": form, "state": await factors.state(request.user.user_id)}
    status = error.status if error else 200
    return Template("second_factor/detail.html", context=context, status_code=status, headers=headers)
