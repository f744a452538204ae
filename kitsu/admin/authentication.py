"""Authentication of the admin site, for unknown paths too, and the headers of all its responses."""

from typing import Any
from urllib.parse import quote

from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.enums import ScopeType
from litestar.exceptions import PermissionDeniedException
from litestar.response import Redirect
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.admin.exception_handlers import handle_failure
from kitsu.admin.navigation import PATH, url
from kitsu.domain.accounts.admin_sessions import AdminIdentity, AdminSessions
from kitsu.errors import Forbidden, Unauthorized
from kitsu.observability.logs import of_request
from kitsu.web.request import body_owner

COOKIE = "kitsu_admin"
SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
SECOND_FACTOR = "/second-factor"
ASSETS = "/static/"
POLLED = "/progress"
"""The end of paths that pages request by themselves: they don't prolong the session."""
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def session_cookie(token: str) -> Cookie:
    """Return the cookie of a session. The browser drops it at its end, the service after the idle time."""
    return Cookie(COOKIE, path=PATH, value=token, httponly=True, samesite="strict")


class SecondFactorMissing(Exception):
    """The user has to set up a second factor before any other page."""


class AdminAuthentication:
    """Puts the AdminIdentity in `request.user`. Other clients are redirected to the sign-in page."""

    def __init__(self, app: ASGIApp, sessions: AdminSessions) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            raise Unauthorized
        scope["user"], scope["auth"], scope["state"] = None, None, {}
        # Litestar removes `root_path` wherever the path has it: of /static/admin.css only .css would be left.
        scope["root_path"] = ""
        request: Request[Any, Any, Any] = Request(scope, receive)
        cookie: list[str] = []

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], (b"content-security-policy", _POLICY)]
                headers += [(b"set-cookie", each.encode()) for each in cookie]
                if scope["scheme"] == "https":
                    headers = [(name, value + b"; Secure" * (name == b"set-cookie")) for name, value in headers]
                message["headers"] = headers
            await send(message)

        response: Response[Any] | None = None
        is_open = scope["path"].rstrip("/") == SIGN_IN or scope["path"].startswith(ASSETS)
        try:
            _check_origin(request)
            if not is_open:
                cookie += await self._identify(request)
        except Unauthorized:
            response = _to_sign_in(request)
        except SecondFactorMissing:
            response = Redirect(url(SECOND_FACTOR), status_code=303)
        except Exception as error:  # noqa: BLE001 - the database is away, for example
            response = handle_failure(request, error)
        app = response.to_asgi_response(app=None, request=request) if response else self._app
        await app(scope, receive, send_with_headers)

    async def _identify(self, request: Request[Any, Any, Any]) -> list[str]:
        """Identify the client, and return the next cookie of a session in use. Raises Unauthorized, Forbidden."""
        token = request.cookies.get(COOKIE)
        if token is None:
            raise Unauthorized
        identity = await self._sessions.identify(token)
        request.scope["user"] = identity
        of_request.set({**of_request.get(), "by": str(identity.user_id)})
        body_owner.set(identity.user_id)
        path = request.scope["path"]
        if identity.waits_for("edit:catalogue"):
            if path.rstrip("/") != SIGN_OUT and not f"{path}/".startswith(f"{SECOND_FACTOR}/"):
                raise SecondFactorMissing
        elif not identity.may("edit:catalogue"):
            raise Forbidden
        if request.scope["path"].endswith(POLLED):
            return []
        renewed = await self._sessions.renewed(token, identity)
        return [session_cookie(renewed).to_header(header="")] if renewed else []


def _check_origin(request: Request[Any, Any, Any]) -> None:
    """Raise PermissionDeniedException for a form of a page on another origin, such as a subdomain that sets cookies."""
    is_safe = request.method in {"GET", "HEAD", "OPTIONS"}
    if not is_safe and request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise PermissionDeniedException


AdminRequest = Request[AdminIdentity, Any, Any]
"""The request of a page that requires a session."""


def _to_sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    # A form that was sent after the end of the session is lost: its page is not the path of a GET.
    path = request.scope["path"]
    query = request.scope["query_string"].decode("latin-1")
    is_page = request.method in {"GET", "HEAD"}
    wanted = PATH + quote(path) + (f"?{query}" if query else "") if is_page and path != "/" else None
    target = url(SIGN_IN, next=wanted, expired=None if is_page and COOKIE not in request.cookies else 1)
    if "hx-request" in request.headers:
        return Response(b"", status_code=401, headers={"HX-Redirect": url(SIGN_IN, expired=1)})
    return Redirect(target, status_code=303)
