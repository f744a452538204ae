"""The composition root: all wiring on one page."""

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from litestar import Litestar

from kitsu import __version__
from kitsu.controllers import ROUTES
from kitsu.controllers.bodies import MAX_BODY
from kitsu.db.catalogue_changes import CatalogueChanges
from kitsu.db.direct import Direct
from kitsu.db.engine import Timeouts, create_engine
from kitsu.db.pool import engine_states
from kitsu.domain.access_tokens import AccessTokens
from kitsu.domain.account_export import AccountExporter
from kitsu.domain.accounts import AccountRules, AccountService
from kitsu.domain.anime import AnimeReader
from kitsu.domain.avatars import AvatarService
from kitsu.domain.collections import CollectionService
from kitsu.domain.command_runs import LastRuns
from kitsu.domain.episodes import EpisodeReader
from kitsu.domain.favorites import FavoriteService
from kitsu.domain.health import HealthReader
from kitsu.domain.library import LibraryService
from kitsu.domain.library_export import LibraryExporter
from kitsu.domain.list_import.importing import ListImporter
from kitsu.domain.media import MediaStore
from kitsu.domain.passwords import PasswordHasher
from kitsu.domain.rate_limits import Policy, RateLimiter
from kitsu.domain.releases import ReleaseReader
from kitsu.domain.search import SearchReader
from kitsu.domain.sessions import SessionRules, SessionService
from kitsu.domain.stray_files import StrayFiles
from kitsu.domain.turns import Turns
from kitsu.domain.users import UserService
from kitsu.domain.views import ViewService
from kitsu.domain.watch_progress import WatchProgressService
from kitsu.exception_handlers import EXCEPTION_HANDLERS
from kitsu.handling import FromScope, Handling, always
from kitsu.logs import configure_logs
from kitsu.metrics import Metrics, Readings
from kitsu.middleware.authentication import Authentication, provide_identity, provide_viewer
from kitsu.middleware.catalogue_answers import CatalogueAnswers, CatalogueMemory
from kitsu.middleware.client import Client, provide_device
from kitsu.middleware.cors import Cors, marks_of
from kitsu.middleware.load_shedding import LoadShedding
from kitsu.middleware.request_log import RequestLog
from kitsu.middleware.security_headers import SecurityHeaders
from kitsu.openapi import openapi_config, without_own_pages
from kitsu.settings import Settings, load_settings
from kitsu.stall import StallGuard
from kitsu.tracing import Tracing, is_wanted

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
    direct = Direct(
        settings.database_url,
        size=settings.db_pool_size,
        recycle=settings.db_pool_recycle,
        debug=settings.debug,
        timeouts=timeouts,
        on_query=tracing.statement if tracing else None,
    )
    hasher = PasswordHasher(threads=settings.password_threads, queue=settings.password_queue)
    limiter = RateLimiter(direct, enabled=settings.rate_limit_enabled)
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
    sessions = SessionService(engine, direct, access_tokens, session_rules)
    media = MediaStore(settings.media_url, settings.media_s3_endpoint)
    strays = StrayFiles(engine, media)
    users = UserService(
        engine,
        direct,
        hasher,
        sessions,
        strays,
        refuse_common=settings.refuse_common_passwords,
        media_url=settings.media_public_url or "/media",
    )
    avatars = AvatarService(engine, media, strays, limiter, Policy("avatar", *settings.rate_limit_avatar))
    searches = Policy("search", *settings.rate_limit_search)

    memory = CatalogueMemory(settings.catalogue_memory_mb << 20)
    connections_limits = {"statements": settings.db_pool_size, "transactions": max(settings.db_max_overflow, 1)}
    connections = sum(connections_limits.values())
    turns = Turns(connections, waiting=connections * WAITING_PER_CONNECTION)
    changes = CatalogueChanges(settings.database_url, memory, timeouts)

    accounts = AccountService(engine, direct, hasher, sessions, users, limiter, account_rules)
    list_importer = ListImporter(engine)
    last_runs = LastRuns(direct)
    readings = Readings(
        connections={"statements": direct.states, "transactions": lambda: engine_states(engine)},
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
        direct.close()
        await engine.dispose()
        if tracing:
            await tracing.close()

    app = Litestar(
        ROUTES,
        dependencies={
            "client_device": FromScope(provide_device),
            "identity": FromScope(provide_identity),
            "accounts": always(accounts),
            "sessions": always(sessions),
            "users": always(users),
            "avatars": always(avatars),
            "viewer": FromScope(provide_viewer),
            "favorites": always(FavoriteService(direct)),
            "watch_progress": always(WatchProgressService(engine, direct)),
            "views": always(ViewService(engine, direct)),
            "collections": always(CollectionService(engine, direct)),
            "library": always(LibraryService(engine, direct)),
            "list_importer": always(list_importer),
            "library_exporter": always(LibraryExporter(direct)),
            "account_exporter": always(AccountExporter(direct, users)),
            "anime": always(AnimeReader(direct)),
            "search": always(SearchReader(AnimeReader(direct), limiter, searches)),
            "releases": always(ReleaseReader(direct)),
            "episodes": always(EpisodeReader(direct)),
            "health": always(HealthReader(engine, direct, media)),
            "metrics": always(metrics),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=MAX_BODY,
        lifespan=[lifespan],
        openapi_config=openapi_config(settings.app_name),
        on_app_init=[without_own_pages],
        logging_config=None,
        # Litestar's debug mode answers an error with its stack trace, which never leaves.
        debug=False,
    )
    handling = Handling(app, Authentication(sessions), timeouts.request)
    # Around the routing, so that unknown paths and methods pass them too.
    marks = marks_of(settings.allowed_origins)
    answers = CatalogueAnswers(SecurityHeaders(Cors(handling, marks)), memory, marks)
    logged = RequestLog(tracing.requests(answers) if tracing else answers, metrics.count_request if metrics else None)
    app.asgi_handler = Client(
        LoadShedding(logged, turns, marks, memory.has),
        settings.trusted_proxies,
        settings.body_timeout_seconds,
    )
    return app


def serve_app() -> Litestar:
    """The application of a worker process, with the settings of its environment."""
    _end_with_parent()
    settings = load_settings()
    configure_logs(settings.log_level)
    app = create_app(settings)
    # Only here: the guard ends its process, and uses a timer that a process has only once.
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
