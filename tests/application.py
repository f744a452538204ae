"""The application in the process of the tests, with a client that calls it over ASGI."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from tempfile import TemporaryDirectory

import httpx
from litestar import Litestar
from sqlalchemy.engine import URL

from kitsu.app import create_app
from kitsu.settings import Settings

ORIGIN = "https://kitsu.example.org"
LONG_TIMEOUT_MS = 30_000
poolers: dict[URL, URL] = {}
"""The address of the PgBouncer through which all applications reach the databases of a server, if any."""


@asynccontextmanager
async def client_of(url: URL, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application on a database, and yield a client that calls it over ASGI."""
    async with _application_on(url, **settings) as app, _client_to(app) as client:
        yield client


class Applications:
    """Applications on one database that tests share: creating one takes longer than most tests."""

    def __init__(self, url: URL, stack: AsyncExitStack) -> None:
        self._url, self._stack = url, stack
        self._apps: dict[frozenset[tuple[str, object]], Litestar] = {}

    @asynccontextmanager
    async def client_of(self, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
        """Yield a new client of the application with these settings, which runs until the stack is closed."""
        key = frozenset(settings.items())
        if key not in self._apps:
            self._apps[key] = await self._stack.enter_async_context(_application_on(self._url, **settings))
        async with _client_to(self._apps[key]) as client:
            yield client


@asynccontextmanager
async def _application_on(url: URL, **settings: object) -> AsyncIterator[Litestar]:
    values = {"secret_key": "k" * 32, "allowed_origins": (ORIGIN,), "database_url": url, "db_pool_size": 3}
    # With cached responses, a test that changes a row would wait for the notification of the change.
    values["catalogue_memory_mb"] = 0
    values["admin_enabled"] = False  # a third of the time that the application takes
    # A test of a timeout sets a short one; all others must not depend on the speed of the machine.
    values |= {f"db_{name}_timeout_ms": LONG_TIMEOUT_MS for name in ("connect", "pool", "statement", "lock")}
    if pooler := poolers.get(url.set(database="")):
        values |= {"database_url": pooler.set(database=url.database), "database_direct_url": url}
        values["db_pooler"] = "transaction"
    with TemporaryDirectory() as uploads:
        app = create_app(Settings(**{**values, "media_url": f"file://{uploads}", **settings}))  # type: ignore[arg-type] # the values are of many types
        async with _running(app):
            yield app


def _client_to(app: Litestar) -> httpx.AsyncClient:
    # A real server turns an unhandled error into a 500.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type] # Litestar types scopes closer
    return httpx.AsyncClient(transport=transport, base_url="http://kitsu.test", headers={"Accept-Encoding": "identity"})


@asynccontextmanager
async def _running(app: Litestar) -> AsyncIterator[None]:
    """Run the application's lifespan in its own task: pytest enters and leaves a fixture in different tasks."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def run_lifespan() -> None:
        async with app.lifespan():
            started.set()
            await stop.wait()

    lifespan = asyncio.create_task(run_lifespan())
    starting = asyncio.create_task(started.wait())
    await asyncio.wait({lifespan, starting}, return_when=asyncio.FIRST_COMPLETED)
    if lifespan.done():
        await lifespan
    yield
    stop.set()
    await lifespan
