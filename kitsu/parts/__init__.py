"""What all requests of a process share, made from the settings: connections, readers, rules and counters."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.engine import URL

from kitsu import __version__
from kitsu.db.engine import Timeouts, create_engine, engine_states
from kitsu.db.listener import CatalogueListener, Listener
from kitsu.db.replicas import replicas_of
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.admin_sessions import AdminSessions
from kitsu.domain.accounts.external_sign_in import SignInLinkReader
from kitsu.domain.accounts.identities import SessionReader
from kitsu.domain.accounts.invitations import InvitationReader, InvitationRules
from kitsu.domain.accounts.users import UserReader
from kitsu.domain.admin_log import AdminLogReader
from kitsu.domain.catalogue import anime, audit, facets, history, merges, releases, reviews, search
from kitsu.domain.catalogue.episode_sources import EpisodeSourceReader
from kitsu.domain.catalogue.importing.runs import ImportRunReader
from kitsu.domain.catalogue.missed_searches import MissedSearches
from kitsu.domain.catalogue.schedule import ScheduleReader
from kitsu.domain.concurrency import ConcurrencyLimiter
from kitsu.domain.media.avatars import AvatarFiles
from kitsu.domain.media.orphans import OrphanFiles
from kitsu.domain.media.store import MediaStore
from kitsu.domain.operations.command_runs import LastRuns
from kitsu.domain.operations.daily_numbers import DailyNumbersReader
from kitsu.domain.operations.health import HealthReader
from kitsu.domain.operations.jobs import JobReader, QueueStates
from kitsu.domain.operations.overview import OverviewReader
from kitsu.domain.viewer import collections, favorites, library, plays, views, watch_progress
from kitsu.domain.viewer.anilist_page import AniListPage
from kitsu.domain.viewer.exports import Exporter
from kitsu.domain.viewer.limits import ViewerLimits
from kitsu.domain.viewer.list_import.importing import ListImporter
from kitsu.domain.viewer.list_import.runs import LibraryImportReader
from kitsu.domain.viewer.moderation import PublicCollectionReader
from kitsu.domain.viewer.profiles import ProfileReader
from kitsu.domain.viewer.progress_batch import BatchRecorder
from kitsu.domain.viewer.statistics import StatisticsReader
from kitsu.observability.metrics import Metrics, Samples
from kitsu.observability.tracing import create_spans
from kitsu.parts.accounts import account_context, oidc_flows
from kitsu.settings import Settings
from kitsu.web.middleware.response_cache import ResponseCache

QUEUED_PER_CONNECTION = 10  # requests that may wait for a slot, as in a burst


class Parts(dict[type, Any]):
    """The parts by type, for controllers and services. What `app.py` uses is an attribute."""

    def __init__(self, settings: Settings, url: URL) -> None:
        self.timeouts = Timeouts(
            connect=settings.db_connect_timeout_ms / 1000,
            pool=settings.db_pool_timeout_ms / 1000,
            statement=settings.db_statement_timeout_ms / 1000,
            lock=settings.db_lock_timeout_ms / 1000,
            idle_in_transaction=settings.db_idle_in_transaction_timeout_ms / 1000,
        )
        self.spans = create_spans(__version__)
        self.engine = create_engine(
            url,
            pooler=settings.is_pooled,
            pool_size=max(settings.db_max_overflow, 1),
            max_overflow=0,  # SQLAlchemy closes a connection of the overflow after each use
            pool_recycle=settings.db_pool_recycle,
            pool_pre_ping=settings.db_pool_pre_ping,
            debug=settings.debug,
            timeouts=self.timeouts,
        )
        if self.spans:
            self.spans.trace_engine(self.engine)
        self.runner = StatementRunner(
            url,
            pooler=settings.is_pooled,
            size=settings.db_pool_size,
            recycle=settings.db_pool_recycle,
            debug=settings.debug,
            timeouts=self.timeouts,
            on_query=self.spans.add_query if self.spans else None,
        )
        limits = {"statements": settings.db_pool_size, "transactions": max(settings.db_max_overflow, 1)}
        connections = sum(limits.values())
        self.concurrency = ConcurrencyLimiter(connections, waiting=connections * QUEUED_PER_CONNECTION)
        self.cache = ResponseCache(settings.catalogue_memory_mb << 20, settings.catalogue_stale_seconds)
        self.replicas = replicas_of(
            settings.database_replica_urls,
            self.runner,
            self.timeouts,
            pooler=settings.is_pooled,
            size=settings.db_pool_size,
            recycle=settings.db_pool_recycle,
        )
        reader = self.replicas.catalogue if self.replicas else self.runner
        own = self.replicas.own_lists if self.replicas else self.runner
        self.listener = None
        if settings.catalogue_memory_mb or self.replicas:
            listeners: list[Listener] = [self.cache, *([self.replicas] if self.replicas else [])]
            self.listener = CatalogueListener(
                settings.database_direct_url or url, listeners, self.timeouts, self.runner
            )
        media = MediaStore(settings.media_url, settings.media_s3_endpoint)
        self.files = AvatarFiles(media, OrphanFiles(self.engine, media))
        self.accounts = account_context(settings, self.engine, self.runner, self.files.orphans)
        self.sessions = SessionReader(
            self.runner, self.accounts.access_tokens, require_second_factor=settings.require_admin_second_factor
        )
        self.last_runs, self.jobs = LastRuns(self.runner), QueueStates(self.runner)
        imports = ListImporter(self.engine)
        self.metrics = self._metrics(imports.outcomes.counts, limits) if settings.metrics_enabled else None
        users = UserReader(self.runner, self.accounts.media_url)
        anime_reader = anime.AnimeReader(reader)
        statistics = StatisticsReader(own)
        own_limits = ViewerLimits(settings.max_collections, settings.max_collection_anime, settings.max_plays)
        recorder = watch_progress.WatchProgressRecorder(self.runner, self.engine, own_limits)
        parts = [
            *(self.runner, self.accounts, self.accounts.access_tokens, self.accounts.session_rules),
            *(oidc_flows(settings, self.runner), SignInLinkReader(self.runner)),
            AdminSessions(
                self.runner, self.accounts.admin_tokens, require_second_factor=settings.require_admin_second_factor
            ),
            InvitationReader(self.runner),
            InvitationRules(
                secret_key=settings.secret_key,
                front_end_url=settings.frontend_url,
                sends_mail=settings.mail_url.is_set_up,
            ),
            *(self.accounts.limiter, self.sessions, users, self.files, imports),
            *(anime_reader, search.SearchReader(reader, anime_reader), facets.FacetReader(reader)),
            *(releases.ReleaseReader(reader), history.HistoryReader(self.runner)),
            *(merges.MergeReader(self.runner), reviews.ReviewReader(self.runner)),
            *(favorites.FavoriteReader(own), watch_progress.WatchProgressReader(own)),
            *(views.ViewReader(own), collections.CollectionReader(own)),
            *(library.LibraryReader(own), Exporter(self.runner, users)),
            *(ScheduleReader(reader, ZoneInfo(settings.schedule_timezone)), EpisodeSourceReader(reader)),
            AniListPage(self.runner),
            *(recorder, BatchRecorder(self.engine, recorder), plays.PlayReader(own)),
            *(own_limits, views.ViewRecorder(self.runner, self.engine, own_limits)),
            *(statistics, ProfileReader(self.runner, users, statistics)),
            HealthReader(self.engine, self.runner, media),
            *(OverviewReader(self.runner), DailyNumbersReader(self.runner), MissedSearches(self.runner)),
            *(AdminLogReader(self.runner), audit.AuditReader(self.runner), PublicCollectionReader(self.runner)),
            *(JobReader(self.runner), ImportRunReader(self.runner), LibraryImportReader(self.runner)),
            *([self.metrics] if self.metrics else []),
        ]
        super().__init__({type(part): part for part in parts})

    def _metrics(self, imports: Mapping[str, float], limits: Mapping[str, float]) -> Metrics:
        """Return the metrics, with those that the parts count."""

        def connections() -> Samples:
            numbers = {"statements": self.runner.states(), "transactions": engine_states(self.engine)}
            states = ("in_use", "idle")
            return {(pool, state): n for pool, both in numbers.items() for state, n in zip(states, both, strict=True)}

        def cache_lookups() -> Samples:
            return {("hit",): cache.hits, ("miss",): cache.misses}

        def by_label(counts: Mapping[str, float], *labels: str) -> Callable[[], Samples]:
            return lambda: {(*labels, label): number for label, number in counts.items()}

        limiter, cache, accounts = self.concurrency, self.cache, self.accounts
        metrics = Metrics(__version__)
        counter, gauge = metrics.add_counter, metrics.add_gauge
        counter("kitsu_http_requests_rejected", "Requests beyond the limit.", lambda: {(): limiter.refused})
        gauge("kitsu_http_requests_in_flight", "Uncached requests in progress.", lambda: {(): limiter.in_flight})
        gauge("kitsu_db_connections", "Database connections.", connections, ("pool", "state"))
        used = self.replicas.usable if self.replicas else int
        gauge("kitsu_db_replicas_used", "Replicas that are read.", lambda: {(): used()}, mode="livemin")
        gauge("kitsu_db_connections_max", "Limit of database connections.", by_label(limits), ("pool",))
        counter("kitsu_logins", "Logins.", by_label(accounts.logins.counts), ("outcome",))
        counter("kitsu_imports", "Imports over HTTP.", by_label(imports, "library"), ("kind", "outcome"))
        gauge("kitsu_password_queue_length", "Passwords being hashed or waiting.", lambda: {(): accounts.hasher.busy})
        counter("kitsu_response_cache_requests", "Lookups in the response cache.", cache_lookups, ("result",))
        gauge("kitsu_response_cache_bytes", "Memory of cached responses.", lambda: {(): cache.size})
        gauge(
            "kitsu_catalogue_last_change_timestamp_seconds",
            "Time of the last change to the catalogue; 0: none since the start.",
            lambda: {(): cache.changed_at},
            mode="max",
        )
        gauge(
            "kitsu_command_last_success_timestamp_seconds",
            "Time at which a command last succeeded; 0: never.",
            by_label(self.last_runs.timestamps),
            ("command",),
            mode="max",
        )
        # Each worker reads the same numbers.
        jobs = self.jobs
        gauge(
            "kitsu_jobs",
            "Jobs that wait, run or have failed.",
            lambda: jobs.counts,
            ("kind", "state"),
            mode="livemostrecent",
        )
        gauge(
            "kitsu_jobs_oldest_seconds",
            "Wait of the oldest due job.",
            lambda: jobs.oldest_seconds,
            ("kind",),
            mode="livemostrecent",
        )
        return metrics

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the background tasks, and close all connections at the end."""
        async with AsyncExitStack() as stack:
            # The plugin disposes of an engine only under its default key in the application's state.
            stack.push_async_callback(self.engine.dispose)
            if self.spans:
                stack.push_async_callback(self.spans.close)
            for each in (self.runner, self.files.threads, self.accounts.hasher, self.accounts.limiter):
                stack.callback(each.close)
            if self.replicas:
                await stack.enter_async_context(self.replicas.followed())
            if self.listener:
                await stack.enter_async_context(self.listener.listening())
            if self.metrics:
                await stack.enter_async_context(self.metrics.publishing())
                await stack.enter_async_context(self.last_runs.followed())
                await stack.enter_async_context(self.jobs.followed())
            yield
