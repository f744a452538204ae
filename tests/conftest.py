"""A real PostgreSQL for every test that touches data: the embedded one, with the schema that the migrations make.

database        an empty database at the newest schema, its own for each test
rows            a plain connection to that database
client          the application on that database, over ASGI
catalogue       one database for all tests that only read, with the sample catalogue in it
reader          the application on that one
shelf, viewer   the application on a database of the module's own, and a new signed-in user of it
folder, place   where a media store keeps its files: a folder; that, then a bucket of an S3 server
"""

import asyncio
import fcntl
import gc
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import disk_usage, rmtree
from tempfile import TemporaryDirectory
from unittest.mock import patch
from uuid import uuid4

import asyncpg
import httpx
import pytest
import structlog
from sqlalchemy.engine import URL

from kitsu.db import migrations
from kitsu.db.embedded import DATABASE, shared_server
from kitsu.domain import concurrency
from kitsu.domain.accounts import passwords
from kitsu.domain.catalogue.importing import load_sample
from kitsu.observability.logs import configure_logs
from tests.application import ORIGIN, PATIENCE_MS, client_of
from tests.databases import column, connect, copy_database, copy_of, engine_of, execute
from tests.factories import Shelf, Viewer, shelf_of
from tests.media_places import Place, bucket_of, folder_at, s3_server

__all__ = ["ORIGIN", "client_of", "column", "connect", "copy_of", "execute"]

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


FOLDER = "KITSU_TEST_FOLDER"
"""The variable by which the processes of one run know where their server is."""
MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it is nobody else's
PREFIX = "kitsu-test-"
LARGE_BODY_BUDGET_BYTES = 1 << 30
"""Bytes, for the server of a run."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of the tests' server, in memory if there is room.

    A database is 300 files, and there is one for each test: where so many were removed just now, ext4 takes half a
    second to make them.
    """
    if FOLDER in os.environ:  # this is one of several processes
        return
    is_roomy = MEMORY.is_dir() and disk_usage(MEMORY).free > LARGE_BODY_BUDGET_BYTES
    if is_roomy:
        _remove_left(MEMORY)
    folder = TemporaryDirectory(prefix=PREFIX, dir=MEMORY if is_roomy else None, ignore_cleanup_errors=True)
    os.environ[FOLDER] = folder.name
    config.add_cleanup(folder.cleanup)


def _remove_left(place: Path) -> None:
    """The folders of runs that were killed, whose servers nobody uses any more."""
    for users in place.glob(f"{PREFIX}*/postgres.users"):
        with suppress(OSError), users.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            rmtree(users.parent)


@pytest.fixture(scope="session", autouse=True)
def logs() -> None:
    """Logs as the service writes them: structlog's default draws each exception for seconds."""
    configure_logs("info")
    # A logger that keeps what it was made of writes where this test did, for a command of the next one as well.
    structlog.configure(cache_logger_on_first_use=False)


@pytest.fixture(scope="session", autouse=True)
def frozen_modules() -> None:
    """Keep the garbage collector from walking all that was imported: each application that a test makes sets it off."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def patient_queue() -> Iterator[None]:
    """Let requests wait for a slot for as long as they may wait for the database."""
    with patch.object(concurrency, "QUEUE_TIMEOUT_SECONDS", PATIENCE_MS / 1000):
        yield


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Hash passwords at the lowest cost: at that of the service the tests would hash for minutes."""
    with password_cost(memory_cost=64, time_cost=1):
        yield


@pytest.fixture
def real_passwords() -> Iterator[None]:
    """Hash passwords at the cost of the service."""
    with password_cost(memory_cost=19_456, time_cost=2):
        yield


@contextmanager
def password_cost(**cost: int) -> Iterator[None]:
    """Hash passwords at this cost."""
    context = passwords._context.copy(**{f"argon2__{name}": value for name, value in cost.items()})  # noqa: SLF001 - no setting
    with patch.multiple(passwords, _context=context, _UNKNOWN_USER=context.hash("unknown")):
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[URL]:
    """The address of the server's own database, from which others are made: as copies of one that nobody is in."""
    with shared_server(Path(os.environ[FOLDER]) / "postgres") as url:
        administration = url.set(database="postgres")
        # These databases live for a test: none has to survive a crash, and each is made in a tenth of the time.
        off = ("fsync", "full_page_writes", "synchronous_commit", "wal_init_zero")
        settings = [*(f"{name} = off" for name in off), "max_wal_size = '128MB'"]
        asyncio.run(execute(administration, *(f"ALTER SYSTEM SET {setting}" for setting in settings)))
        asyncio.run(execute(administration, "SELECT pg_reload_conf()"))
        yield administration


@pytest.fixture(scope="session")
def template(server: URL) -> Iterator[URL]:
    """A database that the migrations made, to copy."""
    name = f"template_{uuid4().hex}"
    url = server.set(database=name)

    async def make() -> None:
        await copy_database(server, DATABASE, name)
        async with engine_of(url) as engine:
            await migrations.migrate(engine)

    asyncio.run(make())
    yield url
    asyncio.run(execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(server: URL, template: URL) -> AsyncIterator[URL]:
    """An empty database at the newest schema."""
    async with copy_of(template, server) as url:
        yield url


@pytest.fixture
async def bare_database(server: URL) -> AsyncIterator[URL]:
    """A database without any table."""
    async with copy_of(server.set(database=DATABASE), server) as url:
        yield url


@pytest.fixture
async def rows(database: URL) -> AsyncIterator[asyncpg.Connection]:
    """A connection to that database, from outside."""
    connection = await connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def client(database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """The application on an empty database."""
    async with client_of(database) as client:
        yield client


@pytest.fixture(scope="session")
async def catalogue(server: URL, template: URL) -> AsyncIterator[URL]:
    """A database with the sample catalogue, for tests that only read."""
    async with copy_of(template, server) as url:
        async with engine_of(url) as engine:
            await load_sample(engine)
        yield url


@pytest.fixture(scope="session")
async def reader(catalogue: URL) -> AsyncIterator[httpx.AsyncClient]:
    """The application on the sample catalogue."""
    async with client_of(catalogue) as client:
        yield client


@pytest.fixture(scope="module")
async def shelf(server: URL, template: URL) -> AsyncIterator[Shelf]:
    """The application on a database that the tests of a module share: each test makes viewers of its own."""
    async with shelf_of(server, template) as shelf:
        yield shelf


@pytest.fixture
async def viewer(shelf: Shelf) -> Viewer:
    """A new viewer, who keeps nothing yet."""
    return await shelf.viewer()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 server."""
    with s3_server() as (address, _):
        yield address


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the S3 server takes, where obstore finds it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    """A folder for a media store."""
    return folder_at(tmp_path / "uploads")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 KiB."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("NOT TESTED: a full disk takes the right to mount one")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, folder: Place, credentials: None) -> Place:
    """A place for a media store, empty and of the test's own."""
    return folder if request.param == "folder" else bucket_of(request.getfixturevalue("s3"))
