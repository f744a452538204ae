"""The user's own second factor: an app with a QR code, passkeys, the recovery codes, and turning it off."""

from pkgutil import resolve_name
from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect, Template

from kitsu.admin.authentication import SECOND_FACTOR, AdminRequest
from kitsu.admin.forms import Form, decode_credential
from kitsu.admin.navigation import see
from kitsu.domain.accounts.passkeys import PasskeyName
from kitsu.domain.accounts.second_factors import SecondFactorService
from kitsu.domain.accounts.sessions import Device
from kitsu.domain.accounts.users import request_origin
from kitsu.domain.accounts.webauthn import NewCredential
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
    code: str | None = None


class PasswordAndName(msgspec.Struct, forbid_unknown_fields=True):
    password: str
    name: PasskeyName


class NewPasskey(msgspec.Struct, forbid_unknown_fields=True):
    challenge: str
    name: PasskeyName
    credential: str


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
    async def confirm(self, request: AdminRequest, second_factors: SecondFactors) -> Template | Redirect:
        """Let the app count, and show the recovery codes that come with the first second factor."""
        form = await Form.read(request)
        try:
            made = await second_factors.confirm_totp(request.user, form.convert(Code).code)
        except AppError as error:
            form.refused(error).texts["code"] = [""]
            context = {"form": form, "secret": None, "picture": None}
            return Template("second_factor/totp.html", context=context, status_code=error.status)
        return _added(made.recovery_codes)

    @post("/remove-app")
    async def remove_app(
        self, request: AdminRequest, client_device: ClientDevice, second_factors: SecondFactors
    ) -> Template | Redirect:
        """Remove the authenticator app."""
        form = await Form.read(request)
        try:
            await second_factors.remove_totp(request.user, form.convert(Password).password, client_device)
        except AppError as error:
            return await _page(request, second_factors, form, error)
        return see(SECOND_FACTOR, done="second-factor-changed")

    @post("/passkeys/start", status_code=200)
    async def start_passkey(
        self, request: AdminRequest, client_device: ClientDevice, second_factors: SecondFactors
    ) -> Template:
        """Show the form that asks the browser for a new passkey."""
        form = await Form.read(request)
        try:
            data = form.convert(PasswordAndName)
            passkey = await second_factors.start_passkey(request.user, data.password, client_device)
        except AppError as error:
            return await _page(request, second_factors, form, error)
        context = {"form": Form.empty(), "passkey": passkey, "name": data.name}
        return Template("second_factor/passkey.html", context=context, headers={"Cache-Control": "no-store"})

    @post("/passkeys", status_code=200)
    async def add_passkey(self, request: AdminRequest, second_factors: SecondFactors) -> Template | Redirect:
        """Store a new passkey, and show the recovery codes that come with the first one."""
        form = await Form.read(request)
        try:
            data = form.convert(NewPasskey)
            credential = decode_credential(data.credential, NewCredential)
            added = await second_factors.add_passkey(request.user, data.challenge, data.name, credential)
        except AppError as error:
            context = {"form": form.refused(error), "passkey": None}
            return Template("second_factor/passkey.html", context=context, status_code=error.status)
        return _added(added.recovery_codes)

    @post("/passkeys/{passkey_id:uuid}/remove")
    async def remove_passkey(
        self,
        request: AdminRequest,
        passkey_id: FromPath[UUID],
        client_device: ClientDevice,
        second_factors: SecondFactors,
    ) -> Template | Redirect:
        """Remove a passkey."""
        form = await Form.read(request)
        try:
            data = form.convert(Password)
            await second_factors.remove_passkey(request.user, passkey_id, data.password, client_device)
        except AppError as error:
            return await _page(request, second_factors, form, error)
        return see(SECOND_FACTOR, done="second-factor-changed")

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


def _added(codes: list[str]) -> Template | Redirect:
    return _codes(codes) if codes else see(SECOND_FACTOR, done="second-factor-changed")


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
    context: dict[str, Any] = {
        "form": form,
        "state": await factors.state(request.user.user_id),
        "has_passkeys": factors.has_passkeys_at(request_origin.get()),
    }
    status = error.status if error else 200
    return Template("second_factor/detail.html", context=context, status_code=status, headers=headers)
