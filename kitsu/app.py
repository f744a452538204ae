"""The composition root: all wiring on one page."""

import ctypes
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.di import Provide

from kitsu.controllers import ROUTES
from kitsu.db.engine import create_engine
from kitsu.db.reads import Reads
from kitsu.domain.anime import AnimeReader
from kitsu.domain.episodes import EpisodeReader
from kitsu.domain.health import HealthReader
from kitsu.domain.releases import ReleaseReader
from kitsu.exception_handlers import EXCEPTION_HANDLERS
from kitsu.logs import configure_logs
from kitsu.middleware.cors import Cors
from kitsu.middleware.plain_query import PlainQuery
from kitsu.middleware.request_log import RequestLog
from kitsu.openapi import openapi_config, without_own_pages
from kitsu.settings import Settings, load_settings

PR_SET_PDEATHSIG = 1
"""From Linux' sys/prctl.h."""


def create_app(settings: Settings) -> Litestar:
    """Build the application. It connects to the database on the first request; `settings.database_url` must be set."""
    if settings.database_url is None:
        raise ValueError("the application needs a database's address; `kitsu run` starts the embedded one")
    engine = create_engine(
        settings.database_url,
        pool_size=settings.db_pool_size,
        max_overflow=settings.db_max_overflow,
        pool_recycle=settings.db_pool_recycle,
        pool_pre_ping=settings.db_pool_pre_ping,
        debug=settings.debug,
    )
    reads = Reads(engine)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = Litestar(
        ROUTES,
        dependencies={
            "anime": _always(AnimeReader(reads)),
            "releases": _always(ReleaseReader(reads)),
            "episodes": _always(EpisodeReader(reads)),
            "health": _always(HealthReader(engine)),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        openapi_config=openapi_config(settings.app_name),
        on_app_init=[without_own_pages],
        logging_config=None,
        # Litestar's debug mode answers an error with its stack trace, which never leaves.
        debug=False,
    )
    # Around the routing, so that unknown paths and methods pass them too.
    app.asgi_handler = RequestLog(Cors(PlainQuery(app.asgi_handler), settings.allowed_origins))
    return app


def serve_app() -> Litestar:
    """The application of a worker process, with the settings of its environment."""
    _end_with_parent()
    settings = load_settings()
    configure_logs(settings.log_level)
    return create_app(settings)


def _end_with_parent() -> None:
    """Have the kernel end this worker when the process that started it is killed, and can't do so itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _always(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)
