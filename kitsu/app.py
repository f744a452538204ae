"""The composition root: plugins, middleware and routes of the application."""

from secrets import token_hex
from urllib.parse import urlsplit

from advanced_alchemy.extensions.litestar import AsyncSessionConfig, SQLAlchemyAsyncConfig, SQLAlchemyInitPlugin
from litestar import Litestar, asgi
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.types import ASGIApp
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.admin.application import create_admin
from kitsu.admin.navigation import PATH
from kitsu.admin.pages import PAGES
from kitsu.controllers import CONTROLLERS, bind
from kitsu.controllers.operations.metrics import MetricsController
from kitsu.parts import Parts
from kitsu.settings import Settings
from kitsu.web.authentication import PUBLIC, AuthenticationMiddleware
from kitsu.web.exception_handlers import EXCEPTION_HANDLERS
from kitsu.web.methods import AllowMiddleware, add_head
from kitsu.web.middleware.bodies import BodyLimits
from kitsu.web.middleware.client import Client
from kitsu.web.middleware.compression import Compression
from kitsu.web.middleware.concurrency import ConcurrencyLimit, DeadlineMiddleware
from kitsu.web.middleware.mount import MountMiddleware
from kitsu.web.middleware.positions import PositionMiddleware
from kitsu.web.middleware.request_log import RequestLog
from kitsu.web.middleware.response_cache import CachedResponses
from kitsu.web.middleware.response_headers import ResponseHeaders, cors_headers_of
from kitsu.web.middleware.well_formed import WellFormed
from kitsu.web.openapi import openapi_config
from kitsu.web.request import MAX_BODY_BYTES, StrictRequest
from kitsu.web.services import provide_db_session


def create_app(settings: Settings) -> Litestar:
    """Build the application, which connects to the database on the first request."""
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is not set; `kitsu run` starts the embedded database")
    parts = Parts(settings, settings.database_url)
    add_head((*CONTROLLERS, *PAGES))
    controllers = [each for each in CONTROLLERS if parts.metrics or each is not MetricsController]
    mounted = [_admin(settings, parts)] if settings.admin_enabled else []
    app = Litestar(
        [
            *bind(controllers, parts),
            *(asgi(PATH, is_mount=True, copy_scope=True, opt=PUBLIC)(admin) for admin in mounted),
        ],
        state=State({"parts": parts}),
        plugins=[SQLAlchemyInitPlugin(_database(parts.engine))],
        dependencies={"db_session": Provide(provide_db_session)},
        middleware=[
            DeadlineMiddleware(parts.timeouts.request),
            DefineMiddleware(AuthenticationMiddleware, sessions=parts.sessions),
            *([PositionMiddleware(parts.replicas)] if parts.replicas else []),
            MountMiddleware(),
            AllowMiddleware(),
        ],
        request_class=StrictRequest,
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=MAX_BODY_BYTES,
        lifespan=[lambda _: parts.running(), *(admin.lifespan() for admin in mounted)],
        openapi_config=openapi_config(settings.app_name),
        logging_config=None,
        debug=False,  # Litestar's debug mode sends stack traces to the client
    )
    cors_headers = cors_headers_of(settings.allowed_origins)
    # All requests pass these layers, unknown paths and methods too; the first is the innermost.
    handler: ASGIApp = ResponseHeaders(app.asgi_handler, cors_headers)
    handler = CachedResponses(handler, parts.cache, cors_headers)
    handler = WellFormed(handler, cors_headers)
    handler = parts.spans.trace_requests(handler) if parts.spans else handler
    handler = RequestLog(handler, parts.metrics.count_request if parts.metrics else None)
    handler = BodyLimits(Compression(handler), settings.body_timeout_seconds)
    handler = ConcurrencyLimit(handler, parts.concurrency, parts.cache, cors_headers)
    prefix = urlsplit(settings.public_url or "").path.rstrip("/")
    app.asgi_handler = Client(handler, settings.trusted_proxies, prefix)
    return app


def _admin(settings: Settings, parts: Parts) -> Litestar:
    return create_admin(
        bind(PAGES, parts),
        parts,
        SQLAlchemyInitPlugin(_database(parts.engine)),
        csrf_secret=settings.secret_key,
        title=settings.app_name,
    )


def _database(engine: AsyncEngine) -> SQLAlchemyAsyncConfig:
    # The library stores the names of all configurations of a process, and looks for free ones by recursion.
    name = token_hex(8)
    return SQLAlchemyAsyncConfig(
        engine_instance=engine,
        session_config=AsyncSessionConfig(expire_on_commit=False),
        session_scope_key=f"session_{name}",
        engine_app_state_key=f"engine_{name}",
        session_maker_app_state_key=f"session_maker_{name}",
        session_dependency_key="plugin_session",
        set_default_exception_handler=False,
    )
