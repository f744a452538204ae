"""`kitsu check`, on a real database: each thing that is wrong is named once, with how to mend it."""

import asyncio
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from kitsu.cli.check import deployment_problems
from kitsu.domain.operations.backup import postgres
from kitsu.settings import Settings
from kitsu.settings.parsers import database_url
from tests.cli.invoke import invoke, invoked
from tests.cli.process import at_once, kitsu
from tests.conftest import execute
from tests.media_places import Place

GOOD: dict[str, Any] = {
    "ALLOWED_ORIGINS": "https://kitsu.example.org",
    "TRUSTED_PROXIES": "10.0.0.0/8",
    "REFUSE_COMMON_PASSWORDS": "true",
}
OF_THE_SERVER = [
    f"- PostgreSQL's {name} is off, so that what was acknowledged can be lost: set {name} = on."
    for name in ("fsync", "full_page_writes", "synchronous_commit")
]
"""What the tests' own server leaves out, to be fast."""
RAN = """
INSERT INTO command_runs VALUES ('backup', now() - interval '29 hours'), ('purge', now() - interval '6 days')
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the kernel's switch for connections of a worker that ends stand as it is told."""
    switch = tmp_path / "kernel" / "net" / "ipv4" / "tcp_migrate_req"
    switch.parent.mkdir(parents=True)
    # The package has a command of the module's name.
    monkeypatch.setattr(sys.modules["kitsu.cli.check"], "SWITCHES", tmp_path / "kernel")
    return lambda said: (switch.write_text(f"{said}\n"), None)[1]


def settings_of(**changed: Any) -> Settings:
    """Settings of a deployment that are all well, but for these."""
    return Settings(
        **{
            "secret_key": "7f3a9c0e5b8d1246" * 2,
            "database_url": database_url("postgresql:///kitsu?host=/var/run/postgresql"),
            "allowed_origins": ("https://a.example",),
            "trusted_proxies": ("10.0.0.0/8",),
            "refuse_common_passwords": True,
            "media_url": "file:///var/lib/kitsu",
            **changed,
        }
    )


async def found(folder: Path, database: URL, **settings: str) -> list[str]:
    """What is wrong, apart from what is always wrong here."""
    good = {"MEDIA_URL": f"file://{folder}", **GOOD}
    code, said, errors = await invoked(folder, "check", "--deploy", database=database, **(good | settings))
    assert (code, errors) == (1, "")
    *problems, count = said.splitlines()
    assert count == f"{len(problems)} problems found."
    assert set(OF_THE_SERVER) <= set(problems)
    return [problem.removeprefix("- ") for problem in problems if problem not in OF_THE_SERVER]


def test_nothing_is_wrong(database: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "check", database=database, **GOOD) as check:
        assert check.ends() == 0
        assert (check.output, check.errors) == ("Nothing is wrong.\n", "")


@pytest.mark.slow
def test_the_exit_code_is_its_own_word(database: URL, tmp_path: Path) -> None:
    """Without `os._exit` at its end, one process in ten is aborted by a thread of the media store's."""

    def run(_: int) -> None:
        with kitsu(tmp_path, "check", "--deploy", database=database, MEDIA_URL=f"file://{tmp_path}", **GOOD) as check:
            assert check.ends() == 1

    at_once(run, [(number,) for number in range(60)])


async def test_nothing_is_wrong_with_a_deployment(database: URL, tmp_path: Path) -> None:
    await execute(database, RAN)
    assert await found(tmp_path, database) == []


async def test_settings_and_schema(database: URL, bare_database: URL, tmp_path: Path) -> None:
    code, said, _ = await invoked(tmp_path, "check", database=bare_database)
    assert (code, said.splitlines()[-1]) == (1, "1 problem found.")
    assert "has no tables yet: run `kitsu migrate`" in said
    await execute(database, "UPDATE alembic_version SET version_num = '0009'")
    code, said, _ = await invoked(tmp_path, "check", database=database)
    assert code == 1
    assert "0009 is older than Kitsu needs" in said
    code, said, _ = await invoked(tmp_path, "check", database=database.set(database="nowhere"))
    assert code == 1
    assert "has no database 'nowhere'" in said
    code, said, errors = await invoked(tmp_path, "check", database=database, SECRET_KEY="short", PORT="x")
    assert code == 1
    assert "SECRET_KEY has 5 bytes" in said + errors
    assert "PORT must be" in said + errors


BAD: dict[str, tuple[str, str]] = {
    "DEBUG": ("true", "DEBUG is on"),
    "SECRET_KEY": ("abcd" * 10, "SECRET_KEY does not look random"),
    "ALLOWED_ORIGINS": ("https://a.example,http://b.example", "ALLOWED_ORIGINS has an origin without TLS"),
    "TRUSTED_PROXIES": ("0.0.0.0/0", "TRUSTED_PROXIES trusts everybody"),
    "RATE_LIMIT_ENABLED": ("false", "RATE_LIMIT_ENABLED is off"),
    "REFUSE_COMMON_PASSWORDS": ("false", "REFUSE_COMMON_PASSWORDS is off"),
    "LOGIN_REFUSAL_MS": ("499", "LOGIN_REFUSAL_MS is below 500"),
    "MEDIA_URL": ("file://./uploads", "MEDIA_URL is a folder in the working directory"),
    "LOG_LEVEL": ("error", "LOG_LEVEL hides"),
    "DB_LOCK_TIMEOUT_MS": ("2600", "DB_LOCK_TIMEOUT_MS is not shorter"),
    "DB_STATEMENT_TIMEOUT_MS": ("2401", "DB_STATEMENT_TIMEOUT_MS lets a request take more than 3 s"),
    "WORKERS": ("200", "WORKERS is more than four"),
    "DB_MAX_OVERFLOW": ("900", "200 workers may want 182200 connections"),
}


async def test_every_problem_at_once(bare_database: URL, tmp_path: Path, kernel: Callable[[str], None]) -> None:
    kernel("1")
    problems = await found(tmp_path, bare_database, **{name: text for name, (text, _) in BAD.items()})
    for _, problem in BAD.values():
        assert len([line for line in problems if line.startswith(problem)]) == 1
    assert len(problems) == len(BAD) + 1
    assert len([line for line in problems if "has no tables yet" in line]) == 1
    assert not any(BAD["SECRET_KEY"][0] in line for line in problems)


async def test_what_is_not_set(database: URL, tmp_path: Path) -> None:
    await execute(database, RAN)
    origins, proxies = await found(tmp_path, database, ALLOWED_ORIGINS="", TRUSTED_PROXIES="")
    assert origins.startswith("ALLOWED_ORIGINS is empty")
    assert proxies.startswith("TRUSTED_PROXIES is not set")


@pytest.mark.parametrize("proxies", [("0.0.0.0/0",), ("::/0",), ("10.0.0.0/8", "::/0")])
def test_everybody_is_no_proxy(proxies: tuple[str, ...]) -> None:
    (problem,) = deployment_problems(settings_of(trusted_proxies=proxies))
    assert problem.startswith("TRUSTED_PROXIES trusts everybody")


@pytest.mark.parametrize("address", ["db.example.org/x", "db.example.org/x?ssl=prefer", "10.0.0.5/x?sslmode=disable"])
def test_database_in_the_open(address: str) -> None:
    (problem,) = deployment_problems(settings_of(database_url=database_url(f"postgresql://kitsu@{address}")))
    assert problem.startswith("The database is reached over a network without TLS")


@pytest.mark.parametrize(
    "address", ["db/x", "127.0.0.1/x", "/x?host=/run/postgresql", "db.example.org/x?sslmode=require"]
)
def test_database_that_nobody_listens_to(address: str) -> None:
    assert deployment_problems(settings_of(database_url=database_url(f"postgresql://kitsu@{address}"))) == []


def test_embedded_database() -> None:
    (problem,) = deployment_problems(settings_of(database_url=None))
    assert problem.startswith("DATABASE_URL is not set")


async def test_backup_and_purge_that_never_ran(database: URL, tmp_path: Path) -> None:
    backup, purge = await found(tmp_path, database)
    assert backup.startswith("`kitsu backup FILE` has never come to its end: run it once a day")
    assert "BACKUP_MAX_AGE_HOURS=0" in backup
    assert purge == "`kitsu purge` has never come to its end: run it once a day."
    assert await found(tmp_path, database, BACKUP_MAX_AGE_HOURS="0") == [purge]


async def test_backup_and_purge_that_are_long_ago(database: URL, tmp_path: Path) -> None:
    await execute(database, RAN, "UPDATE command_runs SET ended_at = ended_at - interval '25 hours'")
    backup, purge = await found(tmp_path, database)
    assert backup.startswith("`kitsu backup FILE` came to its end 2 days ago, for the last time: ")
    assert purge.startswith("`kitsu purge` came to its end 7 days ago, for the last time: ")
    assert await found(tmp_path, database, BACKUP_MAX_AGE_HOURS="55") == [purge]
    await execute(database, "UPDATE command_runs SET ended_at = now() - interval '31 hours'")
    (backup,) = await found(tmp_path, database)
    assert "31 hours ago" in backup


def test_the_commands_that_ran_are_known(database: URL, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    media = f"file://{tmp_path}/media"
    assert invoke(tmp_path, "purge", database=database)[0] == 0
    (backup,) = asyncio.run(found(tmp_path, database))
    assert backup.startswith("`kitsu backup FILE` has never")
    code, _, errors = invoke(tmp_path, "backup", "a.backup", database=database, MEDIA_URL=media)
    assert (code, errors) == (0, "")
    assert asyncio.run(found(tmp_path, database)) == []


async def test_pg_dump_that_is_not_there(database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await execute(database, RAN)
    monkeypatch.setattr(postgres, "_found", lambda _: iter([postgres.Program("/usr/bin/pg_dump", "9.6.24")]))
    (problem,) = await found(tmp_path, database)
    assert problem.startswith("`kitsu backup` can't work: pg_dump is only there in version 9.6.24")
    assert "install its client programs" in problem
    assert await found(tmp_path, database, BACKUP_MAX_AGE_HOURS="0") == []


async def test_folder_of_the_media(database: URL, tmp_path: Path) -> None:
    await execute(database, RAN)
    (tmp_path / "file").touch()
    for place in ("nowhere", "file"):
        (problem,) = await found(tmp_path, database, MEDIA_URL=f"file://{tmp_path}/{place}")
        assert problem == (
            f"Nothing can be stored at file://{tmp_path}/{place}: {tmp_path}/{place} is no folder: "
            "make it, or mount the volume that it is on."
        )


async def test_avatars_that_are_not_there(database: URL, tmp_path: Path, place: Place) -> None:
    """The volume is not mounted, and its folder is there all the same; or MEDIA_URL names another bucket."""
    avatar = "gen_random_uuid(), {0} || '@a.b', {0}, 'none', 'uploads/avatars/' || {0} || '.webp'".format("n::text")
    users = (
        f"INSERT INTO users (id, email, username, password_hash, avatar) SELECT {avatar} FROM generate_series(1, 30) n"
    )
    await execute(database, RAN, users)
    settings: dict[str, Any] = {name.upper(): str(value) for name, value in place.settings.items()}
    settings |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    place.put("of nobody.webp", b"an avatar")
    (problem,) = await found(tmp_path, database, **settings)
    assert problem.startswith(f"Users have avatars, and none is at {settings['MEDIA_URL']}: mount the volume")
    for number in range(1, 31):
        place.put(f"{number}.webp", b"an avatar")
    assert await found(tmp_path, database, **settings) == []


@pytest.mark.parametrize(("said", "workers", "count"), [("0", "2", 1), ("1", "2", 0), ("0", "1", 0)])
async def test_connections_of_a_worker_that_ends(
    database: URL, tmp_path: Path, kernel: Callable[[str], None], said: str, workers: str, count: int
) -> None:
    await execute(database, RAN)
    kernel(said)
    problems = await found(tmp_path, database, WORKERS=workers)
    assert len(problems) == count
    assert all("net.ipv4.tcp_migrate_req=1" in problem for problem in problems)
    shutil.rmtree(tmp_path / "kernel")
    assert await found(tmp_path, database, WORKERS=workers) == []
