"""The paths of signing in with OpenID providers, and of the links of an account."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, PathParameter
from litestar.response import Redirect

from kitsu.controllers.accounts.auth import ClientDevice
from kitsu.domain.accounts.external_sign_in import ExternalSignInService, SignInLink, SignInLinkReader
from kitsu.domain.accounts.oidc_flows import COOKIE, STATE_LIFETIME, OIDCFlows, Start
from kitsu.domain.accounts.sessions import Tokens
from kitsu.domain.fields import described
from kitsu.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from kitsu.web.authentication import PUBLIC
from kitsu.web.guards import rate_limited, requires
from kitsu.web.middleware.client import DEVICE
from kitsu.web.openapi import errors, parameter, query
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

ProviderName = Annotated[str, parameter(PathParameter, "The name of the provider.", "google", max_length=64)]
RedirectTo = Annotated[
    str, query("The path of the front end to which the browser comes back.", "/sign-in", max_length=1000)
]
LIMITED = [rate_limited("oidc")]


class ProviderButton(msgspec.Struct):
    """A provider with which users can sign in."""

    name: Annotated[str, described("Its name in paths.", "google")]
    label: Annotated[str, described("Its name for users.", "Google")]


class SignInCode(msgspec.Struct, forbid_unknown_fields=True):
    """The one-time code with which the browser came back."""

    code: Annotated[
        str, described("The `code` of the address.", "kB3v9Qm1Zt7yXw5LhRk2Pd8sUaEj4NfCgVo6Ti0bMxY", max_length=200)
    ]


class ProviderAddress(msgspec.Struct):
    """Where the browser signs in."""

    url: Annotated[
        str, described("The address at the provider.", "https://accounts.example.org/authorize?client_id=kitsu")
    ]


class OIDCController(Controller):
    path = "/auth"
    tags = ["Accounts"]
    dependencies = DEVICE | {"external": service(ExternalSignInService)}
    flows: OIDCFlows

    @get("/providers", opt=PUBLIC)
    async def list_providers(self) -> list[ProviderButton]:
        """List providers. Those with which users can sign in, for the buttons of the front end."""
        return [ProviderButton(name=each.name, label=each.label) for each in self.flows.providers.values()]

    @get("/oidc/{name:str}/start", opt=PUBLIC, guards=LIMITED, status_code=303, responses=errors(NotFound))
    async def start_sign_in(self, name: ProviderName, redirect_to: RedirectTo = "/") -> Redirect:
        """Sign in with a provider. Redirects the browser to the provider, and sets a cookie."""
        start = await self.flows.start(name, redirect_to)
        return Redirect(start.url, status_code=303, cookies=[self._cookie(start)])

    @get(
        "/oidc/{name:str}/callback", opt=PUBLIC, guards=LIMITED, status_code=303, responses=errors(BadRequest, NotFound)
    )
    async def finish_sign_in(
        self,
        request: Request[Any, Any, Any],
        external: NamedDependency[ExternalSignInService],
        name: ProviderName,
        sent_state: Annotated[
            str | None, query("The state of the flow.", "aZ3v9Qm1Zt7yXw5LhRk2Pd8s", name="state", max_length=500)
        ] = None,
        code: Annotated[
            str | None, query("The code of the provider.", "SplxlOBeZQQYbYS6WxSbIA", max_length=4000)
        ] = None,
        error: Annotated[
            str | None, query("The error of the provider; a code beside it is not used.", "access_denied")
        ] = None,
        iss: Annotated[
            str | None, query("The issuer, if the provider sends it.", "https://accounts.example.org", max_length=1000)
        ] = None,
    ) -> Redirect:
        """Come back from a provider. Redirects to the front end with a one-time `code`, or with `error` or `linked`."""
        cookie = request.cookies.get(COOKIE)
        address = await external.callback(name, sent_state, code, error=error, issuer=iss, cookie=cookie)
        return Redirect(address, status_code=303)

    @post(
        "/oidc/token",
        opt=PUBLIC,
        guards=LIMITED,
        status_code=200,
        responses=errors(BadRequest, Unauthorized, Forbidden, Conflict),
    )
    async def exchange_sign_in_code(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[SignInCode],
        client_device: ClientDevice,
        external: NamedDependency[ExternalSignInService],
    ) -> Tokens:
        """Exchange a one-time code. Starts a session. Needs the cookie of the browser that began to sign in."""
        return await external.exchange(data.code, request.cookies.get(COOKIE), client_device)

    @post(
        "/oidc/{name:str}/link",
        guards=[requires("write:profile"), *LIMITED],
        status_code=200,
        responses=errors(NotFound),
    )
    async def link_provider(
        self, request: ViewerRequest, name: ProviderName, redirect_to: RedirectTo = "/"
    ) -> Response[ProviderAddress]:
        """Link a provider. Sets a cookie; the client then opens the `url` in the same browser."""
        start = await self.flows.start(name, redirect_to, request.user)
        return Response(ProviderAddress(start.url), cookies=[self._cookie(start)])

    def _cookie(self, start: Start) -> Cookie:
        flows = self.flows
        return Cookie(
            key=COOKIE,
            value=start.cookie,
            path=flows.cookie_path,
            max_age=int(STATE_LIFETIME.total_seconds()),
            httponly=True,
            samesite="lax",
            secure=flows.is_secure,
        )


class SignInLinkController(Controller):
    path = "/users/me/links"
    tags = ["Accounts"]
    dependencies = {"external": service(ExternalSignInService)}
    reader: SignInLinkReader

    @get("/")
    async def list_sign_in_links(self, request: ViewerRequest) -> list[SignInLink]:
        """List linked providers. The providers with which the user can sign in."""
        return await self.reader.links(request.user.user_id)

    @delete("/{link_id:str}", guards=[requires("write:profile")], responses=errors(BadRequest, NotFound))
    async def delete_sign_in_link(
        self, request: ViewerRequest, link_id: FromPath[UUID], external: NamedDependency[ExternalSignInService]
    ) -> None:
        """Unlink a provider. An account keeps at least one way to sign in."""
        await external.unlink(request.user.user_id, link_id)
