"""The settings: each is one field with its type, default, parser (bounds and unit) and help text.

The environment variable of a field has its name in upper case. `make settings` documents the fields.
"""

from dataclasses import dataclass
from datetime import time
from typing import Annotated, Any, NamedTuple, get_origin

import msgspec

from kitsu.settings import parsers
from kitsu.settings.mail import CONSOLE
from kitsu.settings.oidc import OIDCProvider
from kitsu.settings.parsers import host_of, origin_of

_EXAMPLE_URL = "postgresql+asyncpg://kitsu:password@localhost:5432/kitsu"
_OPERATION = "Operation. Traces are sent to OTEL_EXPORTER_OTLP_ENDPOINT, read from the environment alone"


@dataclass(frozen=True)
class Shown:
    """What `.env.example` shows of a setting besides its help text and its default."""

    section: str = ""  # heading of the section that starts with this setting
    example: str = ""  # value in a comment, in place of the default
    preset: str = ""  # value that the file sets


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of a process."""

    secret_key: Annotated[parsers.SecretKey, Shown(preset=parsers.EXAMPLE_SECRET_KEY)]
    """Key that signs access tokens and so allows to sign in as any user. The key of .env.example is refused."""
    database_url: Annotated[parsers.DatabaseURL, Shown("Database: PostgreSQL 15 to 18", _EXAMPLE_URL)] = None
    """Address of the database. Over a network add ?ssl=verify-full&sslrootcert=FILE (or =system). Without
    DATABASE_URL and DB_HOST a development install starts an embedded PostgreSQL."""
    db_pooler: Annotated[str, parsers.one_of("none", "transaction")] = "none"
    """What DATABASE_URL names: PostgreSQL itself, or a pooler in transaction mode, such as PgBouncer."""
    database_direct_url: Annotated[
        parsers.DatabaseURL, Shown(example="postgresql+asyncpg://kitsu@db.example.org:5432/kitsu")
    ] = None
    """Address of PostgreSQL itself, past the pooler: for migrations, commands, `kitsu worker`, and news of changes."""
    database_replica_urls: Annotated[
        parsers.DatabaseURLs, Shown(example="postgresql+asyncpg://kitsu@replica.example.org:5432/kitsu")
    ] = ()
    """Replicas to read from, separated by commas; each behind a pooler if DATABASE_URL is."""
    db_host: Annotated[parsers.Text, Shown(example="localhost")] = ""
    """Host of the database, or the folder of its socket. The parts DB_HOST to DB_PASSWORD replace DATABASE_URL."""
    db_port: Annotated[int | None, parsers.integer(1, 65_535), Shown(example="5432")] = None
    """Port of the database."""
    db_name: Annotated[parsers.Text, Shown(example="kitsu")] = ""
    """Name of the database."""
    db_user: Annotated[parsers.Text, Shown(example="kitsu")] = ""
    """User of the database."""
    db_password: parsers.Text = ""
    """Password of that user."""
    db_pool_size: Annotated[int, parsers.integer(1, 1000)] = 10
    """Connections of each worker for single statements. A worker handles as many requests at once as DB_POOL_SIZE
    and DB_MAX_OVERFLOW together; ten times as many wait, and further requests get 503."""
    db_max_overflow: Annotated[int, parsers.integer(0, 1000)] = 10
    """Connections of each worker for transactions of several statements."""
    db_pool_recycle: Annotated[int, parsers.integer(-1, 86_400, "seconds")] = 1800
    """Age at which a connection is replaced; -1: never."""
    db_pool_pre_ping: parsers.Flag = False
    """Test each connection before use. It costs a round trip; without it a failed read is retried."""
    db_connect_timeout_ms: Annotated[int, parsers.integer(100, 60_000, "ms")] = 1500
    """Time that a request waits for a new connection."""
    db_pool_timeout_ms: Annotated[int, parsers.integer(100, 60_000, "ms")] = 500
    """Time that a request waits for a free connection."""
    db_statement_timeout_ms: Annotated[int, parsers.integer(100, 600_000, "ms")] = 2000
    """Time that a request waits for a statement, then 503. Several statements together may take 0.6 s more."""
    db_lock_timeout_ms: Annotated[int, parsers.integer(100, 600_000, "ms")] = 1200
    """Time that a statement waits for a lock, as part of DB_STATEMENT_TIMEOUT_MS."""
    db_idle_in_transaction_timeout_ms: Annotated[int, parsers.integer(1000, 600_000, "ms")] = 10_000
    """Time after which PostgreSQL ends a transaction that does nothing."""
    catalogue_memory_mb: Annotated[int, parsers.integer(0, 65_536, "MB")] = 64
    """Memory of each worker for cached catalogue responses, dropped when a row of the catalogue changes; 0: none."""
    catalogue_stale_seconds: Annotated[int, parsers.integer(0, 3600, "seconds")] = 10
    """Time that a worker serves cached catalogue responses when it no longer hears of changes, as at a failover."""
    access_token_expire_minutes: Annotated[int, parsers.integer(1, 1440, "minutes"), Shown("Sign-in")] = 30
    """Lifetime of an access token."""
    refresh_token_expire_days: Annotated[int, parsers.integer(1, 3650, "days")] = 14
    """Lifetime of a refresh token."""
    refresh_retry: Annotated[str, parsers.one_of("refuse", "same")] = "same"
    """Response to a refresh token that is sent again, by another tab or since its response was lost: while the new
    refresh token is unused the same one again, or 401."""
    refresh_leeway_seconds: Annotated[int, parsers.integer(0, 300, "seconds")] = 10
    """With REFRESH_RETRY=refuse the time after its use in which that does not end the session."""
    algorithm: Annotated[str, parsers.one_of("HS256", "HS384", "HS512")] = "HS256"
    """Algorithm that signs access tokens."""
    password_threads: Annotated[int, parsers.integer(1, 64)] = 1
    """Threads of each worker that hash passwords."""
    password_queue: Annotated[int, parsers.integer(0, 100_000)] = 100
    """Passwords that may wait for a thread; further requests get 503."""
    refuse_common_passwords: parsers.Flag = False
    """Refuse new passwords that are among the 3,000 most common ones."""
    require_verified_email: parsers.Flag = False
    """Refuse logins of users who have not followed the link in the mail to their address. The admin site does not."""
    login_refusal_ms: Annotated[int, parsers.integer(0, 10_000, "ms")] = 1000
    """Duration of every refused login. It must be longer than the check of an old bcrypt password, about 500 ms."""
    registration: Annotated[str, parsers.one_of("open", "invite", "closed")] = "open"
    """Who may create an account: everyone, those with an invitation of `kitsu invite`, or only administrators."""
    require_admin_second_factor: parsers.Flag = False
    """Refuse the operations of editors and administrators to users without a second factor. The admin site leads them
    to set it up."""
    passkey_domain: parsers.Domain = None
    """Domain for which passkeys are made, by default the host of FRONTEND_URL. They work on pages of FRONTEND_URL,
    ALLOWED_ORIGINS and PUBLIC_URL that are in it, and no longer when it changes."""
    rate_limit_enabled: Annotated[parsers.Flag, Shown("Rate limits, counted in the database for all workers")] = True
    """Limit requests. Turn it off only for a load test."""
    rate_limit_login: parsers.Rate = (5, 900)
    """Wrong passwords for one e-mail from one address."""
    rate_limit_login_address: parsers.Rate = (40, 900)
    """E-mails for which one address sends wrong passwords."""
    rate_limit_login_account: parsers.Rate = (10, 900)
    """Wrong passwords for one e-mail from all addresses. Beyond it each further address waits before its first try, 1 s
    and then twice as long each time, up to 300 s; those at which the user is or was signed in don't."""
    rate_limit_second_factor: parsers.Rate = (5, 900)
    """Wrong codes of a second factor for one account, from all addresses."""
    rate_limit_register: parsers.Rate = (100, 3600)
    """Registrations from one address."""
    rate_limit_refresh: parsers.Rate = (3000, 60)
    """Token refreshes from one address."""
    rate_limit_oidc: parsers.Rate = (100, 60)
    """Requests of one address that sign in with, or link, a provider of OIDC_<NAME>_ISSUER (docs/accounts.md)."""
    rate_limit_search: parsers.Rate = (600, 60)
    """Searches from one address."""
    rate_limit_suggest: parsers.Rate = (3000, 60)
    """Suggestions for one address; a search box requests them for each letter."""
    rate_limit_avatar: parsers.Rate = (30, 3600)
    """Avatar uploads of one user."""
    rate_limit_mail: parsers.Rate = (5, 3600)
    """Mails with a link for one account or address."""
    rate_limit_mail_address: parsers.Rate = (300, 3600)
    """Requests for such mails, and uses of their links, from one address."""
    rate_limit_session: parsers.Rate = (1000, 3600)
    """Logins of one user."""
    rate_limit_idempotency: parsers.Rate = (20_000, 86_400)
    """Reports of one user with a new Idempotency-Key: their responses are stored for a day. A batch counts its reports.
    """
    trusted_proxies: parsers.Networks = ()
    """Proxies whose X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host are trusted."""
    max_sessions: Annotated[int, parsers.integer(1, 100_000), Shown("Limits of what one user stores")] = 100
    """Active sessions of a user; a login beyond them ends the one that was used longest ago. As many ended ones are
    stored."""
    max_refresh_tokens: Annotated[int, parsers.integer(100, 1_000_000)] = 3000
    """Refresh tokens of a session that have not expired; with more the session ends. It is raised to twice the number
    that a client has which refreshes every ACCESS_TOKEN_EXPIRE_MINUTES."""
    max_collections: Annotated[int, parsers.integer(0, 1_000_000)] = 1000
    """Collections of a user."""
    max_collection_anime: Annotated[int, parsers.integer(0, 10_000_000)] = 20_000
    """Anime in all collections of a user together."""
    max_plays: Annotated[int, parsers.integer(0, 2_000_000_000)] = 200_000
    """Plays in the history of a user, one for each time that an episode was watched."""
    media_url: Annotated[parsers.MediaURL, Shown("Avatars")] = "file://./uploads"
    """Where avatars are stored."""
    media_s3_endpoint: parsers.WebURL = None
    """Address of an S3 store other than Amazon's. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION are read from
    the environment alone."""
    media_public_url: parsers.WebURL = None
    """Address such as a CDN's for avatar_url, which ends with /avatars/NAME; by default /media of this service."""
    public_url: parsers.WebURL = None
    """Address of this service for browsers, for avatar_url, and for Link if it has a path. By default it has the scheme
    and the host of the request; TRUSTED_PROXIES may change them, and send the path as X-Forwarded-Prefix."""
    allowed_origins: Annotated[parsers.Origins, Shown("Browsers", preset="http://localhost:3000")] = ()
    """Origins of the front end, for CORS: no *, no path, no trailing slash."""
    mail_url: Annotated[parsers.MailURL, Shown("Mail, which `kitsu worker` sends")] = CONSOLE
    """Mail server; file:// writes .eml files, console:// prints mails. Write @ and other special characters of the user
    and the password as %40. With a user, starttls is true by default."""
    mail_from: parsers.Mailbox = ""
    """Sender of mails; by default kitsu@localhost, which no other machine accepts."""
    frontend_url: parsers.FrontEndURL = "http://localhost:3000"
    """Address of the front end, for the links in mails."""
    mail_templates: parsers.Folder = None
    """Folder with templates that replace those of Kitsu with the same name, such as en/layout.html."""
    notify_security_events: parsers.OptionalFlag = None
    """Tell users by mail of a new device and of changes to their account. By default true, unless MAIL_URL is
    console://. When mail is set up, they are told of the reset of a password even if this is false."""
    app_name: Annotated[parsers.Text, Shown("Service")] = "Kitsu"
    """Title of the API documentation, of the admin site and of mails."""
    schedule_timezone: parsers.Timezone = "UTC"
    """IANA time zone of the days in /api/schedule."""
    admin_enabled: parsers.Flag = True
    """Serve the admin site at /admin."""
    host: parsers.Text = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, parsers.integer(1, 65_535)] = 8000
    """Port to listen on."""
    workers: Annotated[int, parsers.integer(1, 256)] = 1
    """Worker processes; one or two per core."""
    worker_memory_mb: Annotated[int, parsers.integer(0, 65_536, "MB")] = 512
    """Memory above which a worker is replaced; 0: no limit. Less than each worker takes is refused at start."""
    worker_stall_seconds: Annotated[int, parsers.integer(0, 3600, "seconds")] = 20
    """Time after which a worker with a blocked event loop logs its stacks and is replaced; 0: never (debugger)."""
    body_timeout_seconds: Annotated[int, parsers.integer(1, 600, "seconds")] = 10
    """Time that a client has to send its request, then 408. The header has its own 10 s."""
    stop_notice_seconds: Annotated[int, parsers.integer(0, 20, "seconds")] = 0
    """Time for which /health/live and /health/ready are 503 before a stop, while requests are served: with several
    instances, more than the interval of the proxy's health checks. Part of STOP_TIMEOUT_SECONDS."""
    stop_timeout_seconds: Annotated[int, parsers.integer(1, 600, "seconds")] = 25
    """Time that requests in progress have to finish when the service stops."""
    metrics_enabled: Annotated[parsers.Flag, Shown(_OPERATION)] = False
    """Serve /metrics for Prometheus. A proxy must not pass it on."""
    log_level: Annotated[str, parsers.one_of("debug", "info", "warning", "error", "critical", fold_case=True)] = "info"
    """Least severe level that is logged."""
    debug: parsers.Flag = False
    """Log every SQL statement with its values. Not for production."""
    purge_at: parsers.TimeOfDay = time(4, 30)
    """Time at which a worker runs `kitsu purge` each day."""
    backup_at: parsers.TimeOfDay = None
    """Time at which a worker writes a backup to BACKUP_FOLDER each day."""
    backup_folder: parsers.Text = ""
    """Folder of these backups, such as /var/backups/kitsu. Copy it to another machine."""
    backup_keep_days: Annotated[int, parsers.integer(0, 3650, "days")] = 14
    """Age at which a worker deletes a backup in BACKUP_FOLDER after a newer one; 0: never."""
    backup_max_age_hours: Annotated[int, parsers.integer(0, 8760, "hours")] = 30
    """Age of the last `kitsu backup` that `kitsu check --deploy` accepts; 0: you back up in another way."""
    silenced_checks: parsers.CheckIds = ()
    """Checks that `kitsu check` does not report; deploy/README.md lists them."""
    oidc_providers: tuple[OIDCProvider, ...] = ()
    """Made from OIDC_<NAME>_ISSUER and the others, which have no field each: docs/accounts.md lists them."""

    @property
    def is_pooled(self) -> bool:
        """Whether DATABASE_URL is that of a pooler in transaction mode."""
        return self.db_pooler == "transaction"

    @property
    def sends_notices(self) -> bool:
        """Whether users are told of what happens to their accounts."""
        return self.mail_url.is_set_up if self.notify_security_events is None else self.notify_security_events

    @property
    def admin_origin(self) -> str:
        """The origin of the admin site."""
        return origin_of(self.public_url or f"http://localhost:{self.port}")

    @property
    def relying_party(self) -> tuple[str, list[str]]:
        """The domain of passkeys, and the origins at which they work."""
        front_end = origin_of(self.frontend_url)
        domain = self.passkey_domain or host_of(front_end)
        origins = dict.fromkeys([front_end, self.admin_origin, *self.allowed_origins])
        return domain, [each for each in origins if f".{host_of(each)}".endswith(f".{domain}")]


class Setting(NamedTuple):
    """A setting as its field declares it."""

    parser: parsers.Parser
    default: Any  # msgspec.NODEFAULT for a required setting
    shown: Shown


SETTINGS: dict[str, Setting] = {}
"""The settings by the names of their environment variables."""
for _field in msgspec.structs.fields(Settings):
    if get_origin(_field.type) is not Annotated:
        continue  # `oidc_providers`
    _metadata = {type(each): each for each in _field.type.__metadata__}
    SETTINGS[_field.name.upper()] = Setting(_metadata[parsers.Parser], _field.default, _metadata.get(Shown, Shown()))
