"""`kitsu run` and `kitsu serve`."""

import errno
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from sqlalchemy.engine import URL

from kitsu.cli.database import on_database, open_database
from kitsu.cli.signals import unwinding_on_signals
from kitsu.cli.web_workers import WorkerStarts
from kitsu.cli.worker import WorkerProcess
from kitsu.db import migrations
from kitsu.db.engine import Timeouts
from kitsu.domain.catalogue.importing import load_sample
from kitsu.domain.media.store import MediaStore
from kitsu.observability.logs import configure_logs, stdlib_config
from kitsu.observability.metrics_folder import metrics_folder
from kitsu.observability.tracing import is_tracing_wanted
from kitsu.settings import Settings, load_settings

MAX_CONNECTIONS = 16_384
OTHER_OPEN_FILES = 256
CONNECTION_BUFFER_BYTES = 32 * 1024
"""Memory for a client that reads slowly, and the limit of a request's header. Granian's default is 410 KB."""
MEMORY_CHECK_SECONDS = 10


@click.command()
@click.option("--reload", is_flag=True, help="Restart the workers when a file of Kitsu changes, for development.")
def run(*, reload: bool) -> None:
    """Prepare the database, its schema and, in an empty catalogue, a sample; then serve, with a worker for jobs."""

    def prepare(url: URL) -> None:
        before, after = on_database(url, migrations.migrate)
        if before != after:
            click.echo(f"Migrated the database from {before or 'nothing'} to {after}.")
        if loaded := on_database(url, load_sample):
            click.echo(f"Loaded the sample catalogue, {loaded} anime; `kitsu import-catalogue FILE` brings a real one.")

    _start(prepare, reload=reload, worker=WorkerProcess())


@click.command()
def serve() -> None:
    """Serve, on a database with the schema of this version."""
    _start(lambda url: on_database(url, migrations.check_schema))


def _start(prepare: Callable[[URL], None], *, reload: bool = False, worker: WorkerProcess | None = None) -> None:
    """Serve after the checks that need no database, and after preparing the database."""
    is_tracing_wanted()  # raises TracingUnavailable
    settings = load_settings()
    # In a container, files that are stored outside of the mounted folder are lost. A bucket may be unreachable for now.
    if problem := MediaStore(settings.media_url, settings.media_s3_endpoint).folder_problem():
        raise click.ClickException(f"MEDIA_URL names a folder that can't be used. {problem}")
    address = _free_address(settings)
    with unwinding_on_signals(), open_database(settings.database_url) as url:
        prepare(settings.database_direct_url or url)
        if settings.database_direct_url:
            # As the service does; a pooler refuses the limits of another connection.
            on_database(url, migrations.check_schema, timeouts=Timeouts(), pooler=settings.is_pooled)
        _serve(settings, address, url, reload=reload, worker=worker)


def _free_address(settings: Settings) -> str:
    """Return the IP address of HOST. Granian takes no names and reports a used port by a traceback."""
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        reasons = {
            errno.EADDRINUSE: "the port is in use: stop the other program, or set PORT",
            errno.EACCES: "this user may not use the port: set PORT to 1024 or more",
        }
        other = f"{getattr(error, 'strerror', None) or 'it is not a host name'}: check HOST"
        reason = reasons.get(getattr(error, "errno", 0), other)
        raise click.ClickException(f"Can't listen on {settings.host}:{settings.port}, {reason}.") from error
    return str(address[0])


def _connections() -> int:
    """Return the limit of connections of each worker, after raising the limit of its open files.

    Granian lets further connections wait, so the limit is far above the number of idle ones.
    """
    files = MAX_CONNECTIONS + OTHER_OPEN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(files - OTHER_OPEN_FILES, 1)


def _serve(
    settings: Settings, address: str, url: URL, *, reload: bool = False, worker: WorkerProcess | None = None
) -> None:
    # The workers read their settings from the environment.
    os.environ["DATABASE_URL"] = url.render_as_string(hide_password=False)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    web = f"http://{host}:{settings.port}"
    click.echo(f"{settings.app_name} serves the API on {web}, its docs on {web}/docs")
    configure_logs(settings.log_level)
    # Workers leave the Ctrl-C of a terminal to this process, which stops them, and drop its handler of SIGTERM.
    os.register_at_fork(after_in_child=os.setpgrp)
    os.register_at_fork(after_in_child=partial(signal.signal, signal.SIGTERM, signal.SIG_DFL))
    server = Granian(
        "kitsu.worker:serve_app",
        address=address,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        # With HTTP/2 on offer a connection that sends nothing is never closed.
        http=HTTPModes.http1,
        backpressure=_connections(),
        http1_settings=HTTP1Settings(header_read_timeout=10_000, max_buffer_size=CONNECTION_BUFFER_BYTES),
        websockets=False,
        respawn_failed_workers=True,
        workers_max_rss=settings.worker_memory_mb or None,
        rss_sample_interval=MEMORY_CHECK_SECONDS,
        workers_kill_timeout=settings.stop_timeout_seconds,
        reload=reload,
        reload_paths=[Path(__file__).parents[1]],
        log_level=LogLevels(settings.log_level),
        log_dictconfig=stdlib_config(settings.log_level),
    )
    starts = WorkerStarts(server, 0 if reload else settings.worker_memory_mb)
    with ExitStack() as stack:
        if settings.metrics_enabled:
            try:
                stack.enter_context(metrics_folder())
            except OSError as error:
                raise click.ClickException(f"METRICS_ENABLED needs room for temporary files: {error}.") from error
        if worker:
            server.on_reload(worker.restart)
            stack.enter_context(worker.running())
        try:
            server.serve(target_loader=starts.load)
        except SystemExit:
            if starts.problem is None:
                raise
            raise click.ClickException(starts.problem) from None
