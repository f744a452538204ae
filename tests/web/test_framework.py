"""Litestar's documented options work for handlers, controllers and mounted applications."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from litestar import Controller, Litestar, MediaType, Request, Response, Router, WebSocket, asgi, get, post, websocket
from litestar.connection import ASGIConnection
from litestar.datastructures import CacheControlHeader, ResponseHeader
from litestar.di import NamedDependency, Provide
from litestar.dto import DataclassDTO, DTOConfig
from litestar.exceptions import InternalServerException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from kitsu.web.authentication import GUESTS, PUBLIC
from kitsu.web.guards import requires
from kitsu.web.middleware.streams import start_stream
from kitsu.web.request import GuestRequest
from tests.factories import Backend, Viewer, backend_of

seen: list[str] = []
"""Names that the guards, hooks and dependencies noted, in order."""


def noting(name: str) -> Any:
    """Return a guard that notes its name."""

    async def guard(_: ASGIConnection[Any, Any, Any, Any], __: BaseRouteHandler) -> None:
        seen.append(name)

    return guard


def refusing(_: ASGIConnection[Any, Any, Any, Any], __: BaseRouteHandler) -> None:
    raise PermissionDeniedException


def middleware(app: ASGIApp) -> ASGIApp:
    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-middleware", b"yes")]
            await send(message)

        await app(scope, receive, send_noted)

    return noted


class TeapotError(Exception):
    """An error that has a handler of its own."""


def handle_teapot(_: Request[Any, Any, Any], __: TeapotError) -> Response[str]:
    return Response("I'm a teapot", status_code=418, media_type=MediaType.TEXT)


async def before(_: Request[Any, Any, Any]) -> None:
    seen.append("before")


async def after(response: Response[Any]) -> Response[Any]:
    response.headers["x-after"] = "yes"
    return response


async def after_response(_: Request[Any, Any, Any]) -> None:
    seen.append("after response")


def opened() -> Iterator[int]:
    seen.append("opened")
    yield 7
    seen.append("closed")


@dataclass
class Cat:
    """A body with a field that no response shows."""

    name: str
    secret: str = "none"


class CatDTO(DataclassDTO[Cat]):
    """A cat without its secret."""

    config = DTOConfig(exclude={"secret"})


async def pieces(*parts: bytes | Exception) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part


@get("/undeclared")
async def undeclared() -> str:
    return "for clients with a token"


@get("/public", opt=PUBLIC, guards=[noting("handler")])
async def public() -> str:
    return "open"


@get("/guests", opt=GUESTS)
async def guests(request: GuestRequest) -> bool:
    return request.user is None


@get("/guarded", guards=[requires("admin:*")])
async def guarded() -> str:
    return "for administrators"


@get("/refused", opt=PUBLIC, guards=[refusing])
async def refused() -> str:
    return "refused"


@get("/options", opt=PUBLIC, before_request=before, after_request=after, after_response=after_response)
async def hooked() -> str:
    return "hooked"


@get(
    ["/headers", "/other-headers"],
    opt=PUBLIC,
    middleware=[middleware],
    media_type=MediaType.TEXT,
    cache_control=CacheControlHeader(max_age=60),
    response_headers=[ResponseHeader(name="x-handler", value="yes")],
)
async def with_headers() -> str:
    return "text"


@get("/teapot", opt=PUBLIC, exception_handlers={TeapotError: handle_teapot})
async def teapot() -> None:
    raise TeapotError


@get("/broken", opt=PUBLIC)
async def broken() -> None:
    raise InternalServerException("secret")


@get("/generator", opt=PUBLIC, dependencies={"seven": Provide(opened)})
async def generator(seven: NamedDependency[int]) -> int:
    return seven


@post("/cats", opt=PUBLIC, dto=CatDTO, return_dto=CatDTO)
async def add_cat(data: JSONBody[Cat]) -> Cat:
    return data


STREAMS: dict[str, tuple[bytes | Exception, ...]] = {
    "none": (),
    "three": (b"one", b"two", b"three"),
    "fails-first": (TimeoutError(), b"two"),
    "bug-first": (RuntimeError(), b"two"),
    "fails-later": (b"one", TimeoutError(), b"three"),
}


@get("/stream/{name:str}", opt=PUBLIC)
async def stream(name: FromPath[str]) -> Stream:
    return Stream(await start_stream(pieces(*STREAMS[name])))


@websocket("/socket")
async def socket(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send what the scope and the body of the request are."""
    body, more = b"", True
    while more:
        message: Any = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    scope_values = {name: scope.get(name) for name in ("path", "root_path", "query_string", "method")}
    response = Response({**scope_values, "body": body.decode(), "query_string": scope["query_string"].decode()})
    await response.to_asgi_response(app=None, request=Request(scope))(scope, receive, send)


@asgi("/mounted", is_mount=True, opt=PUBLIC, copy_scope=True)
async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    await echo(scope, receive, send)


@asgi("/closed", is_mount=True, copy_scope=True)
async def closed(scope: Scope, receive: Receive, send: Send) -> None:
    await echo(scope, receive, send)


class LayeredController(Controller):
    """A controller with a guard, on a router with a guard."""

    path = "/layered"
    guards = [noting("controller")]  # noqa: RUF012 - Litestar's way to declare
    opt = PUBLIC

    @get("/", guards=[noting("handler")])
    async def read(self) -> str:
        return "layered"


HANDLERS: list[Any] = [
    *(undeclared, public, guests, guarded, refused, hooked, with_headers, teapot, broken, generator, add_cat),
    *(stream, socket, mounted, closed),
    Router("/router", route_handlers=[LayeredController], guards=[noting("router")]),
]


@pytest.fixture(scope="module")
async def backend(server: URL, template: URL) -> AsyncIterator[Backend]:
    async with backend_of(server, template) as backend:
        yield backend


@pytest.fixture(scope="module")
async def client(backend: Backend) -> httpx.AsyncClient:
    """Return a client of the service, which has the handlers of this module."""
    app: Litestar = backend.client._transport.app  # type: ignore[attr-defined] # noqa: SLF001 - httpx has no other way
    for handler in HANDLERS:
        app.register(handler)
    return backend.client


@pytest.fixture
async def viewer(client: httpx.AsyncClient, backend: Backend) -> Viewer:
    seen.clear()
    return await backend.viewer()


async def get_path(client: httpx.AsyncClient, path: str, **more: Any) -> httpx.Response:
    seen.clear()
    return await client.get(path, **more)


@pytest.mark.parametrize("path", ["/undeclared", "/guarded", "/closed/x", "/closed"])
async def test_undeclared_handler_without_token_gets_401(client: httpx.AsyncClient, path: str) -> None:
    assert (await get_path(client, path)).status_code == 401
    assert (await get_path(client, path, headers={"Authorization": "Bearer x"})).status_code == 401


async def test_undeclared_handler_with_token_is_open(viewer: Viewer) -> None:
    assert (await viewer.request("GET", "/undeclared")).status_code == 200
    assert (await viewer.request("GET", "/closed/x/y")).json()["path"] == "/x/y"
    assert (await viewer.request("GET", "/guarded")).status_code == 403


async def test_guest_handler_takes_guests_and_refuses_bad_tokens(client: httpx.AsyncClient, viewer: Viewer) -> None:
    assert (await get_path(client, "/guests")).json() is True
    assert (await viewer.request("GET", "/guests")).json() is False
    assert (await get_path(client, "/guests", headers={"Authorization": "Bearer x"})).status_code == 401


async def test_guards_of_all_layers_run_in_order(client: httpx.AsyncClient) -> None:
    assert (await get_path(client, "/router/layered")).status_code == 200
    assert seen == ["router", "controller", "handler"]
    response = await get_path(client, "/refused")
    assert (response.status_code, response.json()["code"]) == (403, "PERMISSION_DENIED")


async def test_hooks_run(client: httpx.AsyncClient) -> None:
    response = await get_path(client, "/options")
    assert response.headers["x-after"] == "yes"
    assert seen == ["before", "after response"]


@pytest.mark.parametrize("path", ["/headers", "/other-headers"])
async def test_middleware_headers_and_media_type_of_handler_are_applied(client: httpx.AsyncClient, path: str) -> None:
    response = await get_path(client, path)
    assert response.text == "text"
    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers["cache-control"] == "max-age=60"
    assert (response.headers["x-handler"], response.headers["x-middleware"]) == ("yes", "yes")


async def test_exception_handler_of_handler_makes_the_response(client: httpx.AsyncClient) -> None:
    assert (await get_path(client, "/teapot")).status_code == 418


async def test_500_of_litestar_is_logged_and_not_shown(client: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        response = await get_path(client, "/broken")
    assert (response.status_code, response.json()["message"]) == (500, "Internal server error")
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["internal error"]


async def test_generator_dependency_is_closed(client: httpx.AsyncClient) -> None:
    assert (await get_path(client, "/generator")).json() == 7
    assert seen == ["opened", "closed"]


async def test_dto_excludes_field_from_response(client: httpx.AsyncClient) -> None:
    assert (await client.post("/cats", json={"name": "Tama"})).json() == {"name": "Tama"}


@pytest.mark.parametrize("name", ["none", "three"])
async def test_stream_sends_all_pieces(client: httpx.AsyncClient, name: str) -> None:
    response = await get_path(client, f"/stream/{name}")
    assert response.content == b"".join(part for part in STREAMS[name] if isinstance(part, bytes))


@pytest.mark.parametrize(("name", "status"), [("fails-first", 503), ("bug-first", 500)])
async def test_stream_whose_first_piece_fails_is_an_error(client: httpx.AsyncClient, name: str, status: int) -> None:
    with capture_logs():
        response = await get_path(client, f"/stream/{name}")
    assert response.status_code == status
    assert response.json().keys() == {"code", "message", "details"}


async def test_stream_that_fails_later_is_cut_and_logged(client: httpx.AsyncClient) -> None:
    app: Litestar = client._transport.app  # type: ignore[attr-defined] # noqa: SLF001 - httpx has no other way
    messages: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(10)

    async def send(message: Any) -> None:
        messages.append(message)

    scope = httpx_scope("/stream/fails-later")
    with capture_logs() as lines:
        await app(scope, receive, send)
    assert [message.get("body") for message in messages] == [None, b"one"]
    assert [(line["log_level"], line["event"]) for line in lines] == [("warning", "response interrupted")]


def httpx_scope(path: str, kind: str = "http") -> Any:
    """Return the scope of a GET request, or of a websocket, as a server makes it."""
    return {
        "type": kind,
        "http_version": "1.1",
        "scheme": "http",
        "method": "GET",
        "path": path,
        "root_path": "",
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"kitsu.test")],
        "state": {},
        "client": ("127.0.0.1", 1),
        "server": ("kitsu.test", 80),
        "subprotocols": [],
    }


async def test_websocket_without_a_token_is_refused(client: httpx.AsyncClient) -> None:
    app: Litestar = client._transport.app  # type: ignore[attr-defined] # noqa: SLF001 - httpx has no other way
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        messages.append(message)

    await app(httpx_scope("/socket", "websocket"), receive, send)
    assert [message["type"] for message in messages] == ["websocket.close"]


@pytest.mark.parametrize(
    ("path", "own"), [("/mounted", "/"), ("/mounted/", "/"), ("/mounted/a/", "/a/"), ("/mounted/a//b", "/a//b")]
)
async def test_mounted_application_gets_path_as_sent(client: httpx.AsyncClient, path: str, own: str) -> None:
    response = (await get_path(client, path)).json()
    assert (response["root_path"], response["path"]) == ("/mounted", own)


async def test_path_that_only_begins_like_a_mount_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await get_path(client, "/mountedx")).status_code == 404


async def test_mounted_application_gets_its_own_request(client: httpx.AsyncClient) -> None:
    response = await client.post("/mounted/health/live?a=1&b=2", content=b"a body")
    assert response.json() == {
        "path": "/health/live",
        "root_path": "/mounted",
        "query_string": "a=1&b=2",
        "method": "POST",
        "body": "a body",
    }
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-request-id"]
