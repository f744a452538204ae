"""Starts that are refused: one line with the reason and what to do, and no process is left."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.engine import URL

from kitsu.db import migrations
from kitsu.db.embedded import shared_server
from tests.cli.invoke import invoke
from tests.cli.process import free_port, kitsu, server_folder
from tests.databases import execute

PASSWORD = "hunter2:@/%"


def refused(folder: Path, *arguments: str, database: URL | None = None, **settings: str) -> str:
    """Run a command that is refused, and return its one line on stderr."""
    return refusal(*invoke(folder, *arguments, database=database, **settings))


def refusal(code: int, output: str, errors: str) -> str:
    assert (code, output) == (1, "")
    assert "hunter2" not in errors
    (line,) = errors.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize("command", ["run", "serve"])
def test_port_in_use_is_refused(tmp_path: Path, catalogue: URL, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refused(tmp_path, command, database=catalogue, PORT=str(port))
    assert all(words in error for words in (f"127.0.0.1:{port}", "in use", "PORT"))


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_unusable_host_is_refused(tmp_path: Path, catalogue: URL, host: str) -> None:
    error = refused(tmp_path, "serve", database=catalogue, HOST=host)
    assert host in error
    assert "HOST" in error


@pytest.mark.parametrize("command", ["run", "serve"])
def test_missing_media_folder_is_refused(tmp_path: Path, catalogue: URL, command: str) -> None:
    (tmp_path / "file").touch()
    for place in ("nowhere", "file"):
        error = refused(tmp_path, command, database=catalogue, MEDIA_URL=f"file://{tmp_path}/{place}")
        assert f"MEDIA_URL names a folder that can't be used. {tmp_path}/{place} is not a folder" in error
    assert not (tmp_path / "nowhere").exists()


def test_wrong_settings_are_all_listed(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL=mysql://kitsu:{PASSWORD}@db/kitsu\nPORT=wrong\nWORKERS=0\n")
    code, output, error = invoke(tmp_path, "run", PORT="", SECRET_KEY="hunter2", LOG_LEVEL="loud", ALLOWED_ORIGINS="*")
    assert (code, output) == (1, "")
    assert "hunter2" not in error
    listed = {line.split()[0] for line in error.splitlines()[1:]}
    assert listed == {"DATABASE_URL", "WORKERS", "SECRET_KEY", "LOG_LEVEL", "ALLOWED_ORIGINS"}


def test_unreachable_database_is_refused(tmp_path: Path) -> None:
    closed = f"127.0.0.1:{free_port()}"
    for place, named in ((closed, closed), ("nowhere.invalid", "nowhere.invalid:5432"), ("a..b", "a..b")):
        error = refused(tmp_path, "run", DATABASE_URL=f"postgresql://kitsu:hunter2@{place}/kitsu")
        assert named in error
        assert "DATABASE_URL" in error


def test_unknown_database_option_is_refused(tmp_path: Path, catalogue: URL) -> None:
    """URLs of hosting companies have libpq's `sslmode`, which asyncpg calls `ssl`."""
    code, _, errors = invoke(tmp_path, "migrate", database=catalogue.update_query_dict({"sslmode": "disable"}))
    assert code == 0 or (code == 1 and "sslmode" in errors), errors
    code, _, errors = invoke(tmp_path, "migrate", database=catalogue.update_query_dict({"sslfashion": "disable"}))
    assert code == 1
    assert "sslfashion" in errors


@pytest.fixture
def guarded() -> Iterator[URL]:
    """Yield a database on its own PostgreSQL server, where the role `guarded` needs a password."""
    with server_folder() as folder, shared_server(folder / "postgres") as url:
        rules = folder / "postgres" / "pg_hba.conf"
        rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
        role = f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'"
        owner = f"ALTER DATABASE {url.database} OWNER TO guarded"
        asyncio.run(execute(url, role, owner, "SELECT pg_reload_conf()"))
        yield url.set(username="guarded")


@pytest.mark.slow
def test_wrong_database_password_is_refused(tmp_path: Path, guarded: URL) -> None:
    error = refused(tmp_path, "run", database=guarded.set(password="hunter2-wrong"))
    assert "'guarded'" in error
    assert "DB_PASSWORD" in error
    with kitsu(tmp_path, "run", database=guarded.set(password=PASSWORD)) as service:
        service.serves()
        assert "hunter2" not in service.output + service.errors


def test_missing_database_or_right_is_refused(tmp_path: Path, server: URL, bare_database: URL) -> None:
    role = f"guest_{uuid4().hex}"
    asyncio.run(execute(server, f"CREATE ROLE {role} LOGIN"))
    missing, closed = server.set(database="not_there"), bare_database.set(username=role)
    try:
        for database, words in ((missing, ("'not_there'", "create it")), (closed, (role, "right"))):
            error = refused(tmp_path, "run", database=database)
            assert all(word in error for word in words)
    finally:
        asyncio.run(execute(server, f"DROP ROLE {role}"))


@pytest.mark.parametrize(
    ("revision", "commands"),
    [("9999", [("run",), ("serve",)]), ("0008", [("serve",), ("import-catalogue", os.devnull)])],
)
def test_schema_of_other_version_is_refused(
    tmp_path: Path, bare_database: URL, revision: str, commands: list[tuple[str, ...]]
) -> None:
    table = "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"
    asyncio.run(execute(bare_database, table, f"INSERT INTO alembic_version VALUES ('{revision}')"))
    for command in commands:
        error = refused(tmp_path, *command, database=bare_database)
        assert revision in error
        assert migrations.head() in error
        assert revision == "9999" or "kitsu migrate" in error


def test_embedded_database_that_fails_to_start_is_reported() -> None:
    with server_folder() as folder:
        (folder / ".local" / "postgres").mkdir(parents=True)
        (folder / ".local" / "postgres" / "PG_VERSION").write_text("9.6\n")
        with kitsu(folder, "run") as service:
            error = refusal(service.ends(20), service.output, service.errors)
        assert str(folder / ".local" / "postgres" / "log") in error
