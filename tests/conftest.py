"""Fixtures: databases of an embedded PostgreSQL with the migrated schema, and the application on them.

database        an empty database with the newest schema; each test has its own
rows            an asyncpg connection to that database
client          the application on that database, over ASGI
catalogue       a database with the sample catalogue, shared by all tests that only read
reader          the application on the shared catalogue
backend, viewer the application on a database that the tests of a module share, and a new signed-in user
accountless     a database that the tests of a module share, without the accounts of the test before
applications    applications on that database, one for each combination of settings
folder          a folder for a media store
location        a folder, then a bucket of an S3 server: each test runs with both
"""

import asyncio
import fcntl
import gc
import os
import subprocess
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
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
from tests.application import LONG_TIMEOUT_MS, ORIGIN, Applications, client_of, poolers
from tests.databases import column, connect, copy_database, copy_of, engine_of, execute
from tests.factories import Backend, Viewer, backend_of
from tests.media_locations import MediaLocation, bucket_of, folder_at, s3_server
from tests.pooler import IS_WANTED, pgbouncer

__all__ = ["ORIGIN", "client_of", "column", "connect", "copy_of", "execute"]

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


FOLDER = "KITSU_TEST_FOLDER"
"""The environment variable with the folder of the server that all processes of one run share."""
MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it is private to one run
PREFIX = "kitsu-test-"
MIN_FREE_BYTES = 1 << 30
"""The space that the server of a run needs in memory."""


def pytest_configure(config: pytest.Config) -> None:
    """Create the folder of the tests' server, in memory if there is enough space.

    Each test creates and drops a database of 300 files, which takes ext4 half a second.
    """
    if FOLDER in os.environ:  # this is one of several processes
        return
    is_roomy = MEMORY.is_dir() and disk_usage(MEMORY).free > MIN_FREE_BYTES
    if is_roomy:
        _remove_abandoned_folders(MEMORY)
    folder = TemporaryDirectory(prefix=PREFIX, dir=MEMORY if is_roomy else None, ignore_cleanup_errors=True)
    Path(folder.name).chmod(0o755)  # as root, the server runs as another user
    os.environ[FOLDER] = folder.name
    config.add_cleanup(folder.cleanup)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude imported modules from garbage collection, which they and every new application trigger."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _remove_abandoned_folders(parent: Path) -> None:
    """Remove the folders that killed runs left; a running one holds a lock."""
    for users in parent.glob(f"{PREFIX}*/postgres.users"):
        with suppress(OSError), users.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            rmtree(users.parent)


@pytest.fixture(scope="session", autouse=True)
def logs() -> None:
    """Configure logs as the service does: structlog's default takes seconds to format an exception."""
    configure_logs("info")
    # A cached logger would write to the captured output of the test that used it first.
    structlog.configure(cache_logger_on_first_use=False)


@pytest.fixture(scope="session", autouse=True)
def long_queue_timeout() -> Iterator[None]:
    """Let requests wait for a slot as long as for the database."""
    with patch.object(concurrency, "QUEUE_TIMEOUT_SECONDS", LONG_TIMEOUT_MS / 1000):
        yield


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Hash passwords at the lowest cost, which saves minutes."""
    with password_cost(memory_cost=64, time_cost=1):
        yield


@pytest.fixture
def real_passwords() -> Iterator[None]:
    """Hash passwords at the cost of the service."""
    with password_cost(memory_cost=19_456, time_cost=2):
        yield


@contextmanager
def password_cost(**cost: int) -> Iterator[None]:
    """Hash passwords with these parameters of Argon2."""
    context = passwords._context.copy(**{f"argon2__{name}": value for name, value in cost.items()})  # noqa: SLF001 - no setting
    with patch.multiple(passwords, _context=context, _UNKNOWN_USER=context.hash("unknown")):
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[URL]:
    """Start the server, and return the URL of its administration database."""
    with shared_server(Path(os.environ[FOLDER]) / "postgres") as url:
        administration = url.set(database="postgres")
        # No database has to survive a crash; without these settings, creating one takes ten times as long.
        off = ("fsync", "full_page_writes", "synchronous_commit", "wal_init_zero")
        settings = [*(f"{name} = off" for name in off), "max_wal_size = '128MB'"]
        asyncio.run(execute(administration, *(f"ALTER SYSTEM SET {setting}" for setting in settings)))
        asyncio.run(execute(administration, "SELECT pg_reload_conf()"))
        with pooler_before(administration):
            yield administration


@contextmanager
def pooler_before(server: URL) -> Iterator[None]:
    """Put PgBouncer between all applications and their database, if it is wanted."""
    if not IS_WANTED:
        yield
        return
    with TemporaryDirectory() as name, pgbouncer(server, Path(name)) as url:
        poolers[server.set(database="")] = url
        yield


@pytest.fixture(scope="session")
def template(server: URL) -> Iterator[URL]:
    """Migrate a database, which the tests copy."""
    name = f"template_{uuid4().hex}"
    url = server.set(database=name)

    async def create() -> None:
        await copy_database(server, DATABASE, name)
        async with engine_of(url) as engine:
            await migrations.migrate(engine)

    asyncio.run(create())
    yield url
    asyncio.run(execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(server: URL, template: URL) -> AsyncIterator[URL]:
    """Create an empty database with the newest schema."""
    async with copy_of(template, server) as url:
        yield url


@pytest.fixture(scope="module")
async def module_database(server: URL, template: URL) -> AsyncIterator[URL]:
    """Create a database for the tests of a module, whose application is then created once: that takes 0.3 s."""
    async with copy_of(template, server) as url:
        yield url


@pytest.fixture
async def accountless(module_database: URL) -> URL:
    """Delete the accounts, counters of rate limits and jobs of the test before."""
    tables = ("users", "rate_limits", "login_counters", "admin_actions", "account_tokens", "pgqueuer")
    await execute(module_database, *(f"DELETE FROM {table}" for table in tables))
    return module_database


@pytest.fixture(scope="module")
async def module_applications(module_database: URL) -> AsyncIterator[Applications]:
    """Create the applications that the tests of a module share."""
    async with AsyncExitStack() as stack:
        yield Applications(module_database, stack)


@pytest.fixture
def applications(module_applications: Applications, accountless: URL) -> Applications:
    """Return the applications of the module, on its database without the accounts of the test before."""
    return module_applications


@pytest.fixture
async def bare_database(server: URL) -> AsyncIterator[URL]:
    """Create a database without tables."""
    async with copy_of(server.set(database=DATABASE), server) as url:
        yield url


@pytest.fixture
async def rows(database: URL) -> AsyncIterator[asyncpg.Connection]:
    """Open an asyncpg connection to the test's database."""
    connection = await connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def client(database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application on an empty database."""
    async with client_of(database) as client:
        yield client


@pytest.fixture(scope="session")
async def catalogue_template(server: URL, template: URL) -> AsyncIterator[URL]:
    """Create a database with the sample catalogue, which tests copy: it must have no connections."""
    async with copy_of(template, server) as url:
        async with engine_of(url) as engine:
            await load_sample(engine)
        yield url


@pytest.fixture(scope="session")
async def catalogue(server: URL, catalogue_template: URL) -> AsyncIterator[URL]:
    """Create a database with the sample catalogue, for tests that only read."""
    async with copy_of(catalogue_template, server) as url:
        yield url


@pytest.fixture(scope="session")
async def reader(catalogue: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application on the sample catalogue."""
    async with client_of(catalogue, admin_enabled=True) as client:
        yield client


@pytest.fixture(scope="module")
async def backend(server: URL, template: URL) -> AsyncIterator[Backend]:
    """Run the application on a database that the tests of a module share; each test creates its own viewers."""
    async with backend_of(server, template) as backend:
        yield backend


@pytest.fixture
async def viewer(backend: Backend) -> Viewer:
    """Return a new viewer with empty lists."""
    return await backend.viewer()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Start an S3 server, and return its URL."""
    with s3_server() as (address, _):
        yield address


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the credentials of the S3 server where obstore finds them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def folder(tmp_path: Path) -> MediaLocation:
    """Return a folder for a media store."""
    return folder_at(tmp_path / "uploads")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 64 KiB."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("NOT TESTED: mounting a small disk needs root")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.fixture(params=["folder", "bucket"])
def location(request: pytest.FixtureRequest, folder: MediaLocation, credentials: None) -> MediaLocation:
    """Return an empty folder or bucket for a media store."""
    return folder if request.param == "folder" else bucket_of(request.getfixturevalue("s3"))
