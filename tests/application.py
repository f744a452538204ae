"""The application in the process of the tests, over ASGI."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

import httpx
from litestar import Litestar
from sqlalchemy.engine import URL

from kitsu.app import create_app
from kitsu.settings import Settings

ORIGIN = "https://kitsu.example.org"
PATIENCE_MS = 30_000


@asynccontextmanager
async def client_of(url: URL, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a database, over ASGI."""
    values = {"secret_key": "k" * 32, "allowed_origins": (ORIGIN,), "database_url": url, "db_pool_size": 3}
    # With cached responses a test that changes a row would have to wait until the listener hears of it.
    values["catalogue_memory_mb"] = 0
    # A test of a timeout sets a short one; all others must not depend on the speed of the machine.
    values |= {f"db_{name}_timeout_ms": PATIENCE_MS for name in ("connect", "pool", "statement", "lock")}
    with TemporaryDirectory() as uploads:
        app = create_app(Settings(**{**values, "media_url": f"file://{uploads}", **settings}))  # type: ignore[arg-type] # the values are of many types
        # An error that the application lets through would be a 500 behind a real server, not an exception.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type] # Litestar types scopes closer
        async with _running(app), httpx.AsyncClient(transport=transport, base_url="http://kitsu.test") as client:
            yield client


@asynccontextmanager
async def _running(app: Litestar) -> AsyncIterator[None]:
    """The application's lifespan, in a task of its own: pytest enters and leaves a fixture in different ones."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await stop.wait()

    life = asyncio.create_task(live())
    starting = asyncio.create_task(started.wait())
    await asyncio.wait({life, starting}, return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        await life
    yield
    stop.set()
    await life
