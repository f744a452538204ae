"""`kitsu check` on a real database: what each check reports, and the options of the command."""

import asyncio
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.engine import URL

from kitsu.cli.checks import configuration
from kitsu.cli.checks.registry import CHECKS, Tag, run
from kitsu.domain.operations.backup import postgres
from kitsu.settings import load_settings
from tests.cli.invoke import invoke, invoked
from tests.cli.process import at_once, free_port, kitsu
from tests.conftest import execute
from tests.media_locations import MediaLocation

GOOD: dict[str, Any] = {
    "ALLOWED_ORIGINS": "https://kitsu.example.org",
    "TRUSTED_PROXIES": "10.0.0.0/8",
    "REFUSE_COMMON_PASSWORDS": "true",
    "REQUIRE_ADMIN_SECOND_FACTOR": "true",
    "MAIL_URL": "file://./mail",
    "MAIL_FROM": "noreply@kitsu.example",
    "FRONTEND_URL": "https://kitsu.example",
}
DURABILITY = [
    ("kitsu.E106", f"{name} of PostgreSQL is off: committed data can be lost. Set it to on in PostgreSQL.")
    for name in ("fsync", "full_page_writes", "synchronous_commit")
]
"""Settings that the server of the tests turns off to be fast."""
RAN = """
INSERT INTO command_runs VALUES ('backup', now() - interval '29 hours'), ('purge', now() - interval '6 days'),
       ('worker', now() - interval '4 minutes')
"""

DAILY = "WHERE command <> 'worker'"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that sets the kernel parameter tcp_migrate_req of a fake /proc/sys."""
    parameter = tmp_path / "kernel" / "net" / "ipv4" / "tcp_migrate_req"
    parameter.parent.mkdir(parents=True)
    monkeypatch.setattr(configuration, "SYSCTL", tmp_path / "kernel")
    return lambda value: (parameter.write_text(f"{value}\n"), None)[1]


def parsed(output: str) -> list[tuple[str, str]]:
    """Return the id and the text of each finding, after a check of the levels and the summary."""
    found = re.findall(r"^(ERROR|WARNING) (kitsu\.\w+): (.+\.)(?:\n    Hint: (.+\.))?$", output, re.MULTILINE)
    assert [level for level, *_ in found] == sorted(level for level, *_ in found), "errors come first"
    assert all(level[0] == check_id[6] for level, check_id, *_ in found)
    count = f"{len(found) or 'no'} problem{'' if len(found) == 1 else 's'}"
    assert re.fullmatch(rf"Kitsu check found {count} \(\d+ silenced\)\.", output.splitlines()[-1])
    return [(check_id, f"{message} {hint}".rstrip()) for _, check_id, message, hint in found]


async def found(folder: Path, database: URL, *options: str, **settings: str) -> list[tuple[str, str]]:
    """Return the findings of `kitsu check --deploy`, without those that every test has."""
    good = {"MEDIA_URL": f"file://{folder}", **GOOD}
    code, output, errors = await invoked(folder, "check", "--deploy", *options, database=database, **(good | settings))
    assert (code, errors) == (1, "")
    findings = parsed(output)
    assert set(DURABILITY) <= set(findings)
    return [finding for finding in findings if finding not in DURABILITY]


def test_check_without_problems_exits_0(database: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "check", database=database, **GOOD) as check:
        assert check.ends() == 0
        assert (check.output, check.errors) == ("Kitsu check found no problems (0 silenced).\n", "")


@pytest.mark.slow
def test_check_in_many_processes_exits_1(database: URL, tmp_path: Path) -> None:
    """Without `os._exit` at its end, a thread of the media store aborts one process in ten."""

    def start(_: int) -> None:
        with kitsu(tmp_path, "check", "--deploy", database=database, MEDIA_URL=f"file://{tmp_path}", **GOOD) as check:
            assert check.ends() == 1

    at_once(start, [(number,) for number in range(60)])


async def test_deploy_check_without_problems_finds_nothing(database: URL, tmp_path: Path) -> None:
    await execute(database, RAN)
    assert await found(tmp_path, database) == []


async def test_wrong_schema_is_reported(database: URL, bare_database: URL, tmp_path: Path) -> None:
    code, output, _ = await invoked(tmp_path, "check", database=bare_database)
    assert code == 1
    assert parsed(output) == [("kitsu.E102", "The database has no tables yet: run `kitsu migrate`.")]
    await execute(database, "UPDATE alembic_version SET version_num = '0009'")
    code, output, _ = await invoked(tmp_path, "check", database=database)
    assert code == 1
    ((check_id, text),) = parsed(output)
    assert check_id == "kitsu.E102"
    assert text.startswith("The database's schema 0009 is older than Kitsu needs")
    await execute(database, "INSERT INTO alembic_version VALUES ('0008')")
    _, output, _ = await invoked(tmp_path, "check", database=database)
    ((check_id, text),) = parsed(output)
    assert check_id == "kitsu.E102"
    assert "several revisions" in text


async def test_required_check_is_reported_for_a_tag(bare_database: URL, tmp_path: Path) -> None:
    options = ("check", "--deploy", "--tag", "backup")
    code, output, _ = await invoked(tmp_path, *options, database=bare_database)
    assert (code, [check_id for check_id, _ in parsed(output)]) == (1, ["kitsu.E102"])


async def test_wrong_settings_end_the_check(database: URL, tmp_path: Path) -> None:
    code, _, errors = await invoked(tmp_path, "check", database=database, SECRET_KEY="short", PORT="x")
    assert code == 1
    assert "SECRET_KEY must be 32 random bytes or more; it has 5 bytes." in errors
    assert "PORT must be" in errors


@pytest.mark.parametrize("change", ["port", "database"])
async def test_database_out_of_reach_is_one_error(change: str, database: URL, tmp_path: Path) -> None:
    url = database.set(database="nowhere")
    if change == "port":
        url = URL.create("postgresql+asyncpg", "kitsu", "hunter2", "127.0.0.1", free_port(), "kitsu")
    settings = {"DEBUG": "true", "MEDIA_URL": f"file://{tmp_path}/nowhere"} | GOOD
    code, output, _ = await invoked(tmp_path, "check", "--deploy", database=url, **settings)
    assert code == 1
    findings = dict(parsed(output))
    assert [*findings] == ["kitsu.E101", "kitsu.E301", "kitsu.E402"]
    assert ("can't be reached" if change == "port" else "has no database 'nowhere'") in findings["kitsu.E101"]
    assert "hunter2" not in output


BAD: dict[str, tuple[str, str, str]] = {
    "DEBUG": ("true", "kitsu.E402", "DEBUG is on"),
    "SECRET_KEY": ("abcd" * 10, "kitsu.E401", "SECRET_KEY does not look random"),
    "ALLOWED_ORIGINS": (
        "https://a.example,http://b.example",
        "kitsu.W408",
        "ALLOWED_ORIGINS has an origin without TLS",
    ),
    "TRUSTED_PROXIES": ("0.0.0.0/0", "kitsu.E407", "TRUSTED_PROXIES trusts every address"),
    "RATE_LIMIT_ENABLED": ("false", "kitsu.E403", "RATE_LIMIT_ENABLED is off"),
    "REFUSE_COMMON_PASSWORDS": ("false", "kitsu.W404", "REFUSE_COMMON_PASSWORDS is off"),
    "REQUIRE_ADMIN_SECOND_FACTOR": ("false", "kitsu.W410", "REQUIRE_ADMIN_SECOND_FACTOR is off"),
    "PASSKEY_DOMAIN": ("other.example", "kitsu.W411", "Passkeys are made for other.example and don't work at"),
    "LOGIN_REFUSAL_MS": ("499", "kitsu.W405", "LOGIN_REFUSAL_MS is below 500"),
    "MEDIA_URL": ("file://./uploads", "kitsu.W303", "MEDIA_URL is a folder in the working directory"),
    "LOG_LEVEL": ("error", "kitsu.W004", "LOG_LEVEL hides"),
    "DB_LOCK_TIMEOUT_MS": ("2600", "kitsu.W108", "DB_LOCK_TIMEOUT_MS is not shorter"),
    "DB_STATEMENT_TIMEOUT_MS": ("2401", "kitsu.W109", "DB_STATEMENT_TIMEOUT_MS lets a request take more than 3 s"),
    "WORKERS": ("200", "kitsu.W005", "WORKERS is more than four"),
    "DB_MAX_OVERFLOW": ("900", "kitsu.E105", "200 workers may open 182200 connections"),
    "MAIL_FROM": ("", "kitsu.E502", "MAIL_FROM is not set"),
    "FRONTEND_URL": ("", "kitsu.E503", "FRONTEND_URL is not set: links in mails lead to http://localhost:3000"),
    "SILENCED_CHECKS": ("kitsu.W999", "kitsu.E002", "SILENCED_CHECKS has the unknown id kitsu.W999"),
}


async def test_all_problems_are_reported_at_once(
    bare_database: URL, tmp_path: Path, kernel: Callable[[str], None]
) -> None:
    kernel("1")
    settings = {name: text for name, (text, *_) in BAD.items()}
    findings = await found(tmp_path, bare_database, **settings)
    texts = dict(findings)
    assert sorted(check_id for check_id, _ in findings) == sorted(
        {"kitsu.E102", *(each for _, each, _ in BAD.values())}
    )
    for _, check_id, message in BAD.values():
        assert texts[check_id].startswith(message)
    assert not any(BAD["SECRET_KEY"][0] in text for text in texts.values())


async def test_silenced_checks_are_counted_and_not_reported(bare_database: URL, tmp_path: Path) -> None:
    _, output, _ = await invoked(tmp_path, "check", database=bare_database, SILENCED_CHECKS="kitsu.W001,kitsu.E102")
    assert output == "Kitsu check found no problems (1 silenced).\n"


@pytest.mark.parametrize(("level", "code"), [((), 1), (("warning",), 1), (("ERROR",), 0)])
async def test_fail_level_decides_exit_code(level: tuple[str, ...], code: int, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WORKER=2\n")
    options = [f"--fail-level={each}" for each in level]
    exit_code, output, _ = await invoked(tmp_path, "check", "--tag", "settings", *options)
    assert exit_code == code
    text = ".env sets WORKER, which is not a setting: rename it to WORKERS, or remove it."
    assert parsed(output) == [("kitsu.W001", text)]


async def test_misspelled_names_in_env_file_are_reported(tmp_path: Path) -> None:
    names = "WORKER=2\nRATE_LIMITS_LOGIN=5/900\nport=1\nAWS_REGION=x\nKITSU_SITE=a\nHOSTNAME=b\nPORT=1\nDEBUG\n"
    (tmp_path / ".env").write_text(names)
    _, output, _ = await invoked(tmp_path, "check", "--tag", "settings")
    renamed = re.findall(r"sets (\w+), which is not a setting: rename it to (\w+),", output)
    assert renamed == [("RATE_LIMITS_LOGIN", "RATE_LIMIT_LOGIN"), ("WORKER", "WORKERS"), ("port", "PORT")]


async def test_tags_select_checks(tmp_path: Path) -> None:
    _, output, _ = await invoked(tmp_path, "check", "--list-tags")
    assert output.split() == ["database", "settings"]
    _, output, _ = await invoked(tmp_path, "check", "--deploy", "--list-tags")
    assert output.split() == ["accounts", "backup", "database", "mail", "media", "security", "settings"]
    nowhere = URL.create("postgresql+asyncpg", host="127.0.0.1", port=free_port(), database="kitsu")
    settings = {"MEDIA_URL": f"file://{tmp_path}/nowhere", "DEBUG": "true"} | GOOD
    for tags, expected in (
        (["settings"], ["kitsu.E402"]),
        (["security"], ["kitsu.E402"]),
        (["backup"], ["kitsu.E101"]),
        (["media", "security"], ["kitsu.E101", "kitsu.E301", "kitsu.E402"]),
    ):
        options = [f"--tag={tag}" for tag in tags]
        _, output, _ = await invoked(tmp_path, "check", "--deploy", *options, database=nowhere, **settings)
        assert [check_id for check_id, _ in parsed(output)] == expected


@pytest.mark.parametrize("tag", ["security", "nothing"])
async def test_unknown_tag_is_refused(tag: str, tmp_path: Path) -> None:
    code, _, errors = await invoked(tmp_path, "check", "--tag", tag)
    assert code == 1
    assert errors == f"Error: No check has the tag {tag} without --deploy. Tags: database, settings.\n"


DEPLOYMENT = GOOD | {
    "SECRET_KEY": "7f3a9c0e5b8d1246" * 2,
    "DATABASE_URL": "postgresql:///kitsu?host=/var/run/postgresql",
    "MEDIA_URL": "file:///var/lib/kitsu",
}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PORT", "8000", []),
        ("MAIL_URL", "", ["kitsu.W501"]),
        ("MAIL_URL", "smtp://mail.example.org", ["kitsu.W505"]),
        *[("MAIL_URL", f"smtp{url}", []) for url in ("s://a.example", "://u:p@a.example", "://mail", "://127.0.0.1")],
        ("ALLOWED_ORIGINS", "", ["kitsu.W003"]),
        ("TRUSTED_PROXIES", "", ["kitsu.W406"]),
        *[("TRUSTED_PROXIES", text, ["kitsu.E407"]) for text in ("0.0.0.0/0", "::/0", "10.0.0.0/8,::/0")],
        ("DATABASE_URL", "", ["kitsu.E107"]),
        *[
            ("DATABASE_URL", f"postgresql://kitsu@{address}", ["kitsu.E409"])
            for address in ("db.example.org/x", "db.example.org/x?ssl=prefer", "10.0.0.5/x?sslmode=disable")
        ],
        *[
            ("DATABASE_URL", f"postgresql://kitsu@{address}", [])
            for address in ("db/x", "127.0.0.1/x", "/x?host=/run/postgresql", "db.example.org/x?sslmode=require")
        ],
    ],
)
async def test_setting_is_reported_by_its_check(name: str, text: str, expected: list[str], tmp_path: Path) -> None:
    settings = load_settings(DEPLOYMENT | {name: text}, tmp_path / ".env")
    checks = [each for each in CHECKS.values() if each.resources == {"settings"} and Tag.SETTINGS in each.tags]
    assert [finding.check.id for finding in await run(checks, settings=settings)] == expected


async def test_backup_purge_and_worker_that_never_ran_are_reported(database: URL, tmp_path: Path) -> None:
    backup, purge, worker = await found(tmp_path, database)
    assert worker[0] == "kitsu.W112"
    daily = "`kitsu backup` has never finished. Set BACKUP_AT, or run it once a day, or set BACKUP_MAX_AGE_HOURS=0 if "
    assert backup == ("kitsu.E202", f"{daily}you back up in another way.")
    hint = "Set PURGE_AT and start `kitsu worker`, or run it once a day."
    assert purge == ("kitsu.W110", f"`kitsu purge` has never finished. {hint}")
    assert await found(tmp_path, database, BACKUP_MAX_AGE_HOURS="0") == [purge, worker]


async def test_old_backup_and_purge_are_reported(database: URL, tmp_path: Path) -> None:
    await execute(database, RAN, f"UPDATE command_runs SET ended_at = ended_at - interval '25 hours' {DAILY}")
    backup, purge = await found(tmp_path, database)
    assert backup[1].startswith("`kitsu backup` last finished 2 days ago. ")
    assert purge[1].startswith("`kitsu purge` last finished 7 days ago. ")
    assert await found(tmp_path, database, BACKUP_MAX_AGE_HOURS="55") == [purge]
    await execute(database, f"UPDATE command_runs SET ended_at = now() - interval '31 hours' {DAILY}")
    (backup,) = await found(tmp_path, database)
    assert "31 hours ago" in backup[1]


def test_recent_backup_and_purge_are_not_reported(database: URL, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    media = f"file://{tmp_path}/media"
    assert invoke(tmp_path, "purge", database=database)[0] == 0
    asyncio.run(execute(database, "INSERT INTO command_runs VALUES ('worker', now())"))
    assert [check_id for check_id, _ in asyncio.run(found(tmp_path, database))] == ["kitsu.E202"]
    code, _, errors = invoke(tmp_path, "backup", "a.backup", database=database, MEDIA_URL=media)
    assert (code, errors) == (0, "")
    assert asyncio.run(found(tmp_path, database)) == []


async def test_backup_folder_that_cannot_be_written_to_is_reported(database: URL, tmp_path: Path) -> None:
    await execute(database, RAN)
    settings = {"BACKUP_AT": "03:00", "BACKUP_FOLDER": str(tmp_path / "backups")}
    ((check_id, message),) = await found(tmp_path, database, **settings)
    assert check_id == "kitsu.E203"
    assert settings["BACKUP_FOLDER"] in message
    (tmp_path / "backups").mkdir()
    assert await found(tmp_path, database, **settings) == []


async def test_worker_that_does_not_run_is_reported(database: URL, tmp_path: Path) -> None:
    await execute(database, RAN)
    reported = (
        "No worker has run for 5 minutes: jobs wait, such as imports, mail and the daily purge. "
        "Start `kitsu worker` beside `kitsu serve`."
    )
    for age in ("6 minutes", "1 year"):
        await execute(database, f"UPDATE command_runs SET ended_at = now() - interval '{age}' WHERE command = 'worker'")
        assert await found(tmp_path, database) == [("kitsu.W112", reported)]


async def test_tables_of_another_version_of_pgqueuer_are_reported(database: URL, tmp_path: Path) -> None:
    await execute(database, RAN, "ALTER TABLE pgqueuer DROP COLUMN slot")
    ((check_id, text),) = await found(tmp_path, database)
    assert check_id == "kitsu.E111"
    assert text.startswith("The tables of the job queue do not fit the installed version of pgqueuer. ")


async def test_mail_server_that_is_away_and_folder_that_is_no_folder_are_reported(
    database: URL, tmp_path: Path
) -> None:
    await execute(database, RAN)
    for url, message in (
        (f"smtp://kitsu:hunter2@127.0.0.1:{free_port()}", "Mails can't be sent to smtp://127.0.0.1:"),
        (f"file://{__file__}", f"Mails can't be sent to file://{__file__}: "),
    ):
        ((check_id, text),) = await found(tmp_path, database, MAIL_URL=url)
        assert check_id == "kitsu.E504"
        assert text.startswith(message)
        assert "hunter2" not in text


async def test_wrong_mail_template_is_reported(database: URL, tmp_path: Path) -> None:
    await execute(database, RAN)
    (tmp_path / "templates/en").mkdir(parents=True)
    (tmp_path / "templates/en/test.html").write_text("{% if %}")
    ((check_id, text),) = await found(tmp_path, database, MAIL_TEMPLATES=f"{tmp_path}/templates")
    assert check_id == "kitsu.E506"
    assert text.startswith("The template en/test.html is wrong: Expected an expression")


async def test_old_pg_dump_is_reported(database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await execute(database, RAN)
    monkeypatch.setattr(postgres, "_found", lambda _: iter([postgres.Program("/usr/bin/pg_dump", "9.6.24")]))
    ((check_id, text),) = await found(tmp_path, database)
    assert check_id == "kitsu.E201"
    assert text.startswith("`kitsu backup` can't run: pg_dump is only available in version 9.6.24")
    assert "install its client programs" in text
    assert await found(tmp_path, database, BACKUP_MAX_AGE_HOURS="0") == []


async def test_missing_media_folder_is_reported(database: URL, tmp_path: Path) -> None:
    await execute(database, RAN)
    (tmp_path / "file").touch()
    for place in ("nowhere", "file"):
        problem = (
            f"Files can't be stored at file://{tmp_path}/{place}: {tmp_path}/{place} is not a folder: "
            "create it, or mount its volume."
        )
        assert await found(tmp_path, database, MEDIA_URL=f"file://{tmp_path}/{place}") == [("kitsu.E301", problem)]


async def test_missing_avatars_are_reported(database: URL, tmp_path: Path, location: MediaLocation) -> None:
    """The volume is not mounted and its folder is empty, or MEDIA_URL names another bucket."""
    avatar = "gen_random_uuid(), {0} || '@a.b', {0}, 'none', 'uploads/avatars/' || {0} || '.webp'".format("n::text")
    users = (
        f"INSERT INTO users (id, email, username, password_hash, avatar) SELECT {avatar} FROM generate_series(1, 30) n"
    )
    await execute(database, RAN, users)
    settings: dict[str, Any] = {name.upper(): str(value) for name, value in location.settings.items()}
    settings |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    location.put("without user.webp", b"an avatar")
    ((check_id, text),) = await found(tmp_path, database, **settings)
    assert check_id == "kitsu.E302"
    assert text.startswith(f"Users have avatars, but {settings['MEDIA_URL']} has none of them. Mount the volume")
    for number in range(1, 31):
        location.put(f"{number}.webp", b"an avatar")
    assert await found(tmp_path, database, **settings) == []


@pytest.mark.parametrize(("value", "workers", "expected"), [("0", "2", ["kitsu.W006"]), ("1", "2", []), ("0", "1", [])])
async def test_kernel_that_drops_connections_is_reported(
    database: URL, tmp_path: Path, kernel: Callable[[str], None], value: str, workers: str, expected: list[str]
) -> None:
    await execute(database, RAN)
    kernel(value)
    findings = await found(tmp_path, database, WORKERS=workers)
    assert [check_id for check_id, _ in findings] == expected
    assert all("net.ipv4.tcp_migrate_req=1" in text for _, text in findings)
    shutil.rmtree(tmp_path / "kernel")
    assert await found(tmp_path, database, WORKERS=workers) == []


@pytest.mark.parametrize(("seconds", "words"), [(30, "30 s ahead of"), (-30, "30 s behind"), (5, None)])
async def test_clock_that_differs_from_the_database_is_reported(
    database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, words: str | None
) -> None:
    await execute(database, RAN)
    clock = SimpleNamespace(time=lambda: time.time() + seconds)
    monkeypatch.setattr("kitsu.domain.operations.clock.time", clock)
    hint = "Run a time service on both, such as chrony or systemd-timesyncd."
    message = f"The clock of this machine is {words} the clock of PostgreSQL's machine. {hint}"
    assert await found(tmp_path, database) == ([("kitsu.W113", message)] if words else [])
