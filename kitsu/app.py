"""The composition root: all wiring on one page."""

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from litestar import Litestar
from litestar.middleware import DefineMiddleware
from litestar.types import ASGIApp

from kitsu import __version__
from kitsu.controllers import CONTROLLERS, bind
from kitsu.controllers.operations.metrics import MetricsController
from kitsu.db.engine import Timeouts, create_engine
from kitsu.db.listener import CatalogueListener
from kitsu.db.pool import engine_states
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.access_tokens import AccessTokens
from kitsu.domain.accounts.passwords import PasswordHasher
from kitsu.domain.accounts.sessions import SessionRules, SessionService
from kitsu.domain.accounts.sign_in import AccountRules, AccountService
from kitsu.domain.accounts.users import UserService
from kitsu.domain.catalogue.anime import AnimeReader
from kitsu.domain.catalogue.episodes import EpisodeReader
from kitsu.domain.catalogue.releases import ReleaseReader
from kitsu.domain.catalogue.search import SearchReader
from kitsu.domain.concurrency import ConcurrencyLimiter
from kitsu.domain.media.avatars import AvatarService
from kitsu.domain.media.orphans import OrphanFiles
from kitsu.domain.media.store import MediaStore
from kitsu.domain.operations.command_runs import LastRuns
from kitsu.domain.operations.health import HealthReader
from kitsu.domain.rate_limits import Policy, RateLimiter
from kitsu.domain.viewer.account_export import AccountExporter
from kitsu.domain.viewer.collections import CollectionService
from kitsu.domain.viewer.favorites import FavoriteService
from kitsu.domain.viewer.library import LibraryService
from kitsu.domain.viewer.library_export import LibraryExporter
from kitsu.domain.viewer.list_import.importing import ListImporter
from kitsu.domain.viewer.views import ViewService
from kitsu.domain.viewer.watch_progress import WatchProgressService
from kitsu.observability.logs import configure_logs
from kitsu.observability.metrics import Metrics, Readings
from kitsu.observability.stall import StallGuard
from kitsu.observability.tracing import Tracing, is_wanted
from kitsu.settings import Settings, load_settings
from kitsu.web.authentication import AuthenticationMiddleware
from kitsu.web.connections import ClientTimeouts
from kitsu.web.exception_handlers import EXCEPTION_HANDLERS
from kitsu.web.middleware.client import Client
from kitsu.web.middleware.concurrency import ConcurrencyLimit
from kitsu.web.middleware.cors import Cors, cors_headers_by_origin
from kitsu.web.middleware.deadline import DeadlineMiddleware
from kitsu.web.middleware.mount import MountMiddleware
from kitsu.web.middleware.request_log import RequestLog
from kitsu.web.middleware.response_cache import CachedResponses, ResponseCache
from kitsu.web.middleware.security_headers import SecurityHeaders
from kitsu.web.middleware.streams import StreamMiddleware
from kitsu.web.openapi import openapi_config, without_own_pages
from kitsu.web.request import MAX_BODY_BYTES, StrictRequest

PR_SET_PDEATHSIG = 1
"""From Linux' sys/prctl.h."""
WAITING_PER_CONNECTION = 10
"""Requests that may wait for their turn: what a burst brings."""


def create_app(settings: Settings) -> Litestar:
    """Build the application. It connects to the database on the first request; `settings.database_url` must be set."""
    if settings.database_url is None:
        raise ValueError("the application needs a database's address; `kitsu run` starts the embedded one")
    timeouts = Timeouts(
        connect=settings.db_connect_timeout_ms / 1000,
        pool=settings.db_pool_timeout_ms / 1000,
        statement=settings.db_statement_timeout_ms / 1000,
        lock=settings.db_lock_timeout_ms / 1000,
        idle_in_transaction=settings.db_idle_in_transaction_timeout_ms / 1000,
    )
    tracing = Tracing(__version__) if is_wanted() else None
    engine = create_engine(
        settings.database_url,
        pool_size=1,
        max_overflow=max(settings.db_max_overflow - 1, 0),
        pool_recycle=settings.db_pool_recycle,
        pool_pre_ping=settings.db_pool_pre_ping,
        debug=settings.debug,
        timeouts=timeouts,
    )
    if tracing:
        tracing.statements_of(engine)
    runner = StatementRunner(
        settings.database_url,
        size=settings.db_pool_size,
        recycle=settings.db_pool_recycle,
        debug=settings.debug,
        timeouts=timeouts,
        on_query=tracing.statement if tracing else None,
    )
    hasher = PasswordHasher(threads=settings.password_threads, queue=settings.password_queue)
    limiter = RateLimiter(runner, enabled=settings.rate_limit_enabled)
    access_tokens = AccessTokens(
        secret_key=settings.secret_key,
        algorithm=settings.algorithm,
        minutes=settings.access_token_expire_minutes,
    )
    session_rules = SessionRules(
        lifetime=timedelta(days=settings.refresh_token_expire_days),
        leeway=timedelta(seconds=settings.refresh_leeway_seconds),
        same_child=settings.refresh_retry == "same",
        secret_key=settings.secret_key,
    )
    account_rules = AccountRules(
        guesses=Policy("login", *settings.rate_limit_login),
        guesses_of_address=Policy("login-address", *settings.rate_limit_login_address),
        registrations=Policy("register", *settings.rate_limit_register),
        refreshes=Policy("refresh", *settings.rate_limit_refresh),
        refusal_seconds=settings.login_refusal_ms / 1000,
        refuse_common=settings.refuse_common_passwords,
    )
    sessions = SessionService(engine, runner, access_tokens, session_rules)
    media = MediaStore(settings.media_url, settings.media_s3_endpoint)
    strays = OrphanFiles(engine, media)
    users = UserService(
        engine,
        runner,
        hasher,
        sessions,
        strays,
        refuse_common=settings.refuse_common_passwords,
        media_url=settings.media_public_url or "/media",
    )
    avatars = AvatarService(engine, media, strays, limiter, Policy("avatar", *settings.rate_limit_avatar))
    searches = Policy("search", *settings.rate_limit_search)

    memory = ResponseCache(settings.catalogue_memory_mb << 20)
    connections_limits = {"statements": settings.db_pool_size, "transactions": max(settings.db_max_overflow, 1)}
    connections = sum(connections_limits.values())
    turns = ConcurrencyLimiter(connections, waiting=connections * WAITING_PER_CONNECTION)
    changes = CatalogueListener(settings.database_url, memory, timeouts)

    accounts = AccountService(engine, runner, hasher, sessions, users, limiter, account_rules)
    list_importer = ListImporter(engine)
    last_runs = LastRuns(runner)
    readings = Readings(
        connections={"statements": runner.states, "transactions": lambda: engine_states(engine)},
        connections_limits=connections_limits,
        turns=turns,
        passwords=hasher,
        logins=accounts.logins.counts,
        imports={"library": list_importer.outcomes.counts},
        catalogue=memory,
        runs=last_runs,
    )
    metrics = Metrics(__version__, readings) if settings.metrics_enabled else None

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        if settings.catalogue_memory_mb:
            changes.start()
        async with AsyncExitStack() as stack:
            if metrics:
                await stack.enter_async_context(metrics.publishing())
                await stack.enter_async_context(last_runs.followed())
            yield
        await changes.stop()
        hasher.close()
        avatars.close()
        runner.close()
        await engine.dispose()
        if tracing:
            await tracing.close()

    parts: list[object] = [
        accounts,
        sessions,
        users,
        avatars,
        list_importer,
        FavoriteService(runner),
        WatchProgressService(engine, runner),
        ViewService(engine, runner),
        CollectionService(engine, runner),
        LibraryService(engine, runner),
        LibraryExporter(runner),
        AccountExporter(runner, users),
        AnimeReader(runner),
        SearchReader(AnimeReader(runner), limiter, searches),
        ReleaseReader(runner),
        EpisodeReader(runner),
        HealthReader(engine, runner, media),
    ]
    controllers = [each for each in CONTROLLERS if metrics or each is not MetricsController]
    app = Litestar(
        bind(controllers, *parts, *([metrics] if metrics else [])),
        middleware=[
            StreamMiddleware(),
            DeadlineMiddleware(timeouts.request),
            DefineMiddleware(AuthenticationMiddleware, sessions=sessions),
            MountMiddleware(),
        ],
        request_class=StrictRequest,
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=MAX_BODY_BYTES,
        lifespan=[lifespan],
        openapi_config=openapi_config(settings.app_name),
        on_app_init=[without_own_pages],
        logging_config=None,
        # Litestar's debug mode answers an error with its stack trace, which never leaves.
        debug=False,
    )
    cors_headers = cors_headers_by_origin(settings.allowed_origins)
    # What every request passes, unknown paths and methods too; the first is the innermost.
    layers: list[Callable[[ASGIApp], ASGIApp]] = [
        lambda inner: Cors(inner, cors_headers),
        SecurityHeaders,
        lambda inner: CachedResponses(inner, memory, cors_headers),
        tracing.requests if tracing else lambda inner: inner,
        lambda inner: RequestLog(inner, metrics.count_request if metrics else None),
        lambda inner: ConcurrencyLimit(inner, turns, cors_headers, memory.has),
        lambda inner: Client(inner, settings.trusted_proxies, settings.body_timeout_seconds),
    ]
    for layer in layers:
        app.asgi_handler = layer(app.asgi_handler)
    return app


def serve_app() -> Litestar:
    """The application of a worker process, with the settings of its environment."""
    _end_with_parent()
    settings = load_settings()
    configure_logs(settings.log_level)
    app = create_app(settings)
    # Only here: both belong to a whole process, the guard's timer and the socket options.
    client_timeouts = ClientTimeouts()
    app.on_startup.append(client_timeouts.start)
    app.on_shutdown.append(client_timeouts.stop)
    guard = StallGuard(settings.worker_stall_seconds)
    app.on_startup.append(guard.start)
    app.on_shutdown.append(guard.stop)
    # What stands now stays: a full collection that walks it stops every request of the worker for a tenth of a second.
    gc.collect()
    gc.freeze()
    return app


def _end_with_parent() -> None:
    """Have the kernel end this worker when the process that started it is killed, and can't do so itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it was killed before this worker could ask for that
        sys.exit(1)
