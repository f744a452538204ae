"""What is done with a request is not Litestar's: a handler that counts on something else ends the start."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler

from kitsu.web.authentication import Authentication
from kitsu.web.handling import Handling, always


def refuse(*_: Any) -> None:
    """A guard, a hook."""


def layer(app: Any) -> Any:
    """A middleware."""
    return app


async def pass_on(response: Response[Any]) -> Response[Any]:
    """What happens behind a handler."""
    return response


def cleaned_up() -> Iterator[int]:
    """A dependency."""
    yield 1


OPTIONS: dict[str, dict[str, Any]] = {
    "a guard": {"guards": [refuse]},
    "middleware": {"middleware": [layer]},
    "before_request": {"before_request": refuse},
    "after_request": {"after_request": pass_on},
    "after_response": {"after_response": refuse},
    "a cache": {"cache": True},
    "a dependency to clean up": {"dependencies": {"it": Provide(cleaned_up)}},
}


def handling(*handlers: HTTPRouteHandler) -> Handling:
    """Of an application with these."""
    nobody: Any = None
    return Handling(Litestar(handlers, openapi_config=None), Authentication(nobody), seconds=1)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_handler_that_no_request_would_reach_as_it_says(name: str) -> None:
    @get("/", **{"dependencies": {"it": always(1)}} | OPTIONS[name])
    async def handler(it: NamedDependency[int]) -> None: ...

    with pytest.raises(ValueError, match=name):
        handling(handler)


def test_a_handler_of_two_paths() -> None:
    @get(["/one", "/two"])
    async def handler() -> None: ...

    with pytest.raises(ValueError, match="two paths"):
        handling(handler)


async def test_a_prefix_leads_past_no_guard(client: httpx.AsyncClient) -> None:
    transport: Any = client._transport  # noqa: SLF001 - the prefix is an option of it
    transport.root_path = "/prefix"
    for path in ("/users", "/favorites", "/prefix/users", "/prefix/favorites"):
        response = await client.get(path)
        assert response.status_code == (404 if path.startswith("/prefix") else 401)


def test_handlers_of_one_path() -> None:
    @get("/")
    async def read() -> None: ...

    @post("/")
    async def write() -> None: ...

    handling(read, write)
