"""What keeps `kitsu` from starting is said in one line that names what to do, and nothing of the start is left."""

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
from tests.cli.process import Process, at_once, free_port, kitsu, server_folder
from tests.conftest import execute

PASSWORD = "hunter2:@/%"


def refusal(process: Process) -> str:
    """The one line on stderr of a command that ended at once."""
    assert process.ends(20) == 1
    assert process.output == ""
    assert "hunter2" not in process.errors
    lines = process.errors.splitlines()
    if len(lines) != 1 or not lines[0].startswith("Error: "):
        process.fail("it says more than one line, or none")
    return lines[0]


def test_port_in_use(tmp_path: Path, catalogue: URL) -> None:
    def check(command: str) -> None:
        with kitsu(tmp_path, command, database=catalogue, PORT=str(port)) as service:
            said = refusal(service)
        assert all(words in said for words in (f"127.0.0.1:{port}", "in use", "PORT"))

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        at_once(check, [("run",), ("serve",)])


def test_bad_host(tmp_path: Path, catalogue: URL) -> None:
    def check(host: str) -> None:
        with kitsu(tmp_path, "serve", database=catalogue, HOST=host) as service:
            said = refusal(service)
        assert host in said
        assert "HOST" in said

    at_once(check, [("192.0.2.1",), ("a..b",)])


def test_wrong_settings_are_all_listed(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL=mysql://kitsu:{PASSWORD}@db/kitsu\nPORT=wrong\nWORKERS=0\n")
    with kitsu(tmp_path, "run", PORT="", SECRET_KEY="hunter2", LOG_LEVEL="loud", ALLOWED_ORIGINS="*") as service:
        assert service.ends() == 1
        assert service.output == ""
        said = service.errors
    assert "hunter2" not in said
    listed = {line.split()[0] for line in said.splitlines()[1:]}
    assert listed == {"DATABASE_URL", "WORKERS", "SECRET_KEY", "LOG_LEVEL", "ALLOWED_ORIGINS"}


def test_database_away(tmp_path: Path) -> None:
    def check(address: str, named: str) -> None:
        with kitsu(tmp_path, "run", DATABASE_URL=address) as service:
            said = refusal(service)
        assert named in said
        assert "DATABASE_URL" in said

    closed = f"127.0.0.1:{free_port()}"
    at_once(
        check,
        [
            (f"postgresql://kitsu:hunter2@{closed}/kitsu", closed),
            ("postgresql://kitsu:hunter2@nowhere.invalid/kitsu", "nowhere.invalid:5432"),
            ("postgresql://kitsu:hunter2@a..b/kitsu", "a..b"),
        ],
    )


def test_option_that_the_driver_does_not_know(tmp_path: Path, catalogue: URL) -> None:
    """The addresses that providers hand out have libpq's `sslmode`, which asyncpg knows by another name."""

    def check(option: str) -> None:
        address = catalogue.update_query_dict({option: "disable"}).render_as_string(hide_password=False)
        with kitsu(tmp_path, "migrate", DATABASE_URL=address) as command:
            if option == "sslmode" and command.process.wait(20) == 0:
                return
            assert command.ends() == 1
            assert option in command.errors

    at_once(check, [("sslmode",), ("sslfashion",)])


@pytest.fixture
def guarded() -> Iterator[URL]:
    """A database of its own PostgreSQL, where the role `guarded` needs a password."""
    with server_folder() as folder, shared_server(folder / "postgres") as url:
        rules = folder / "postgres" / "pg_hba.conf"
        rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
        role = f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'"
        owner = f"ALTER DATABASE {url.database} OWNER TO guarded"
        asyncio.run(execute(url, role, owner, "SELECT pg_reload_conf()"))
        yield url.set(username="guarded")


def test_password(tmp_path: Path, guarded: URL) -> None:
    def wrong() -> None:
        with kitsu(tmp_path, "run", database=guarded.set(password="hunter2-wrong")) as service:
            said = refusal(service)
        assert "'guarded'" in said
        assert "DB_PASSWORD" in said

    def right() -> None:
        with kitsu(tmp_path, "run", database=guarded.set(password=PASSWORD)) as service:
            service.serves()
            assert "hunter2" not in service.output + service.errors

    at_once(lambda work: work(), [(wrong,), (right,)])


def test_missing_database_and_missing_rights(tmp_path: Path, server: URL, bare_database: URL) -> None:
    def check(database: URL, *words: str) -> None:
        with kitsu(tmp_path, "run", database=database) as service:
            said = refusal(service)
        assert all(word in said for word in words)

    role = f"guest_{uuid4().hex}"
    asyncio.run(execute(server, f"CREATE ROLE {role} LOGIN"))
    missing, closed = server.set(database="not_there"), bare_database.set(username=role)
    try:
        at_once(check, [(missing, "'not_there'", "create it"), (closed, role, "right")])
    finally:
        asyncio.run(execute(server, f"DROP ROLE {role}"))


@pytest.mark.parametrize(
    ("revision", "commands"),
    [
        ("9999", [("run",), ("serve",)]),
        ("0008", [("serve",), ("import-catalogue", os.devnull)]),
    ],
)
def test_schema_of_another_version(
    tmp_path: Path, bare_database: URL, revision: str, commands: list[tuple[str, ...]]
) -> None:
    def check(*command: str) -> None:
        with kitsu(tmp_path, *command, database=bare_database) as process:
            said = refusal(process)
        assert revision in said
        assert migrations.head() in said
        assert revision == "9999" or "kitsu migrate" in said

    table = "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"
    asyncio.run(execute(bare_database, table, f"INSERT INTO alembic_version VALUES ('{revision}')"))
    at_once(check, commands)


def test_embedded_database_that_does_not_start() -> None:
    with server_folder() as folder:
        (folder / ".local" / "postgres").mkdir(parents=True)
        (folder / ".local" / "postgres" / "PG_VERSION").write_text("9.6\n")
        with kitsu(folder, "run") as service:
            assert str(folder / ".local" / "postgres" / "log") in refusal(service)
