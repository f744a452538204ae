"""Settings: accepted and refused values, error messages, and the generated documentation."""

import importlib.util
import re
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from kitsu.settings import Settings, SettingsError, load_database_url, load_settings
from kitsu.settings.fields import SETTINGS
from scripts import settings_documentation as documentation

ROOT = Path(__file__).parent.parent
NO_FILE = Path("/nonexistent/.env")
KEY = "k" * 32
VALID = {"SECRET_KEY": KEY, "DATABASE_URL": "postgresql+asyncpg://kitsu:pw@db.example:5433/kitsu"}
PARTS = {"DB_HOST": "db.example", "DB_PORT": "5433", "DB_NAME": "kitsu", "DB_USER": "kitsu", "DB_PASSWORD": "pw"}


def load(**environ: str) -> Settings:
    """Return the settings of a valid environment with these changes."""
    return load_settings(VALID | environ, NO_FILE)


def problem(**environ: str) -> str:
    """Return the only problem of a valid environment with these changes."""
    with pytest.raises(SettingsError) as caught:
        load(**environ)
    (only,) = caught.value.problems
    return only


def test_settings_without_values_have_defaults() -> None:
    assert load_settings({"SECRET_KEY": KEY}, NO_FILE) == Settings(secret_key=KEY, database_url=None)
    settings = load()
    assert (settings.access_token_expire_minutes, settings.refresh_token_expire_days) == (30, 14)
    assert (settings.algorithm, settings.allowed_origins, settings.debug) == ("HS256", (), False)
    assert (settings.host, settings.port, settings.app_name) == ("127.0.0.1", 8000, "Kitsu")


ACCEPTED: dict[str, dict[str, object]] = {
    "SECRET_KEY": {"я" * 16: "я" * 16},
    "DB_POOL_PRE_PING": {"true": True, "Off": False},
    "DEBUG": {"1": True, "no": False},
    "ALGORITHM": {"HS512": "HS512"},
    "REFRESH_RETRY": {"refuse": "refuse"},
    "LOG_LEVEL": {"WARNING": "warning"},
    "APP_NAME": {" Кицунэ ": "Кицунэ"},
    "HOST": {"::1": "::1"},
    "RATE_LIMIT_LOGIN": {"5/900": (5, 900), "1/1": (1, 1), "9999999/999999": (9_999_999, 999_999)},
    "MEDIA_URL": {
        text: text
        for text in ("file://./media/of users", "file:///var/lib/kitsu", "s3://kitsu.media-1/a/b/", "s3://b-1")
    },
    "MEDIA_PUBLIC_URL": {"https://cdn.example.org/kitsu/": "https://cdn.example.org/kitsu"},
    "PUBLIC_URL": {"https://example.org/": "https://example.org", "http://[::1]:8000/api": "http://[::1]:8000/api"},
    "PASSKEY_DOMAIN": {"Example.org": "example.org", "localhost": "localhost"},
    "TRUSTED_PROXIES": {"10.0.0.0/8, ::1,": ("10.0.0.0/8", "::1")},
    "SILENCED_CHECKS": {"kitsu.W001, kitsu.E002,": ("kitsu.W001", "kitsu.E002")},
    "ALLOWED_ORIGINS": {
        "https://a.example, http://localhost:3000 ,": ("https://a.example", "http://localhost:3000"),
        '["https://a.example", "http://localhost:3000"]': ("https://a.example", "http://localhost:3000"),
        "[]": (),
        "HTTPS://A.Example": ("https://a.example",),
        "https://a.example:443,http://b.example:80": ("https://a.example", "http://b.example"),
        "https://a.example:80,http://b.example:443": ("https://a.example:80", "http://b.example:443"),
        "http://[::1]:3000": ("http://[::1]:3000",),
    },
}


@pytest.mark.parametrize(
    ("name", "text", "value"), [(name, *pair) for name, values in ACCEPTED.items() for pair in values.items()]
)
def test_value_is_accepted(name: str, text: str, value: object) -> None:
    assert getattr(load(**{name: text}), name.lower()) == value


BOUNDS = {
    "DB_POOL_SIZE": (1, 1000),
    "DB_MAX_OVERFLOW": (0, 1000),
    "DB_POOL_RECYCLE": (-1, 86_400),
    "ACCESS_TOKEN_EXPIRE_MINUTES": (1, 1440),
    "REFRESH_TOKEN_EXPIRE_DAYS": (1, 3650),
    "REFRESH_LEEWAY_SECONDS": (0, 300),
    "PASSWORD_THREADS": (1, 64),
    "PASSWORD_QUEUE": (0, 100_000),
    "LOGIN_REFUSAL_MS": (0, 10_000),
    "PORT": (1, 65_535),
    "WORKERS": (1, 256),
    "WORKER_STALL_SECONDS": (0, 3600),
}


@pytest.mark.parametrize(("name", "low", "high"), [(name, *bounds) for name, bounds in BOUNDS.items()])
def test_number_within_bounds_is_accepted_and_others_refused(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(load(**{name: str(value)}), name.lower()) == value
    for text in (str(low - 1), str(high + 1), "five", "1.5", "1e3", "0x10", "+5", "1_000", "٣", "9" * 5000):
        assert problem(**{name: text}).startswith(f"{name} must be {low} to {high}")


REFUSED = """
DEBUG maybe 2
ALGORITHM none RS256 hs256
REFRESH_RETRY Same
LOG_LEVEL loud
RATE_LIMIT_LOGIN 5 5/ /900 0/900 5/0 -5/900 5/900/1 1e3/60 ٣/60 99999999/1 1/9999999 5/15m
TRUSTED_PROXIES proxy ::1,10.0.0.0/33 ::1,10.0.0.1/8 ::1,* 10.0.0
SILENCED_CHECKS W001 kitsu.W1 kitsu.X001 kitsu.W001;kitsu.W002
MEDIA_URL uploads /uploads file://uploads file:uploads file://.uploads s3:// s3:///x s3://Bucket s3://b/x?y=z
MEDIA_URL gs://bucket s3://k:p@b
MEDIA_PUBLIC_URL cdn.example.org ftp://a.example https:// https://a.example?x https://u@a.example https://a.example:x
MEDIA_PUBLIC_URL https://[
PUBLIC_URL example.org //example.org ftp://a.example https://a.example/?x https://a.example/#x https://u:p@a.example
PASSKEY_DOMAIN https://example.org example.org/ example.org:443 .example.org -a.example 127.0.0.1 [::1] *.a.example
ALLOWED_ORIGINS * ["*"] https://*.example https://a.example,* https://a.example/ https://a.example/path
ALLOWED_ORIGINS https://a.example? https://a.example# https://a.example?x=1 a.example //a.example ftp://a.example null
ALLOWED_ORIGINS https:// https:a.example https://a.example:99999 https://a.example:port https://u:p@a.example
ALLOWED_ORIGINS https://u@a.example https://:p@a.example https://@a.example [1] [null] [ {} ["https://a.example"
ALLOWED_ORIGINS http://[::1 https://a.example;https://b.example https://a.example:0
"""
"""A setting and the values that it refuses, per line."""
REFUSED_CASES = [
    (name, text) for line in REFUSED.splitlines() for name, *texts in [line.split() or [""]] for text in texts
]
REFUSED_CASES += [
    ("RATE_LIMIT_LOGIN", "5 / 900"),
    ("MEDIA_PUBLIC_URL", "https://a b"),
    ("ALLOWED_ORIGINS", "https://a b.example"),
    ("ALLOWED_ORIGINS", "https://a.example https://b.example"),
]


@pytest.mark.parametrize(("name", "text"), REFUSED_CASES)
def test_value_is_refused(name: str, text: str) -> None:
    message = problem(**{name: text})
    assert message.startswith(f"{name} must be ")
    if not name.startswith(("MEDIA", "PUBLIC", "ALLOWED")):  # these values may contain a password
        assert text.rsplit(",", maxsplit=1)[-1] in message


def test_s3_endpoint_without_bucket_is_refused() -> None:
    bucket = {"MEDIA_URL": "s3://bucket"}
    assert load(**bucket, MEDIA_S3_ENDPOINT="http://127.0.0.1:9000/").media_s3_endpoint == "http://127.0.0.1:9000"
    assert problem(**bucket, MEDIA_S3_ENDPOINT="minio:9000").startswith("MEDIA_S3_ENDPOINT must be ")
    for media in ({}, {"MEDIA_URL": "file://./x"}):
        message = problem(**media, MEDIA_S3_ENDPOINT="http://127.0.0.1:9000")
        assert message.startswith("MEDIA_S3_ENDPOINT is set, though MEDIA_URL")


def test_environment_wins_over_env_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"SECRET_KEY={KEY}\nPORT=9001\n# PORT=1\nHOST='::1' # a comment\nAPP_NAME=${{HOME}}\n")
    settings = load_settings({"PORT": "9002"}, file)
    assert (settings.port, settings.host, settings.app_name) == (9002, "::1", "${HOME}")


def test_env_file_of_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=9001\nALLOWED_ORIGINS=\nDB_HOST=\n")
    monkeypatch.chdir(tmp_path)
    for name in PARTS:
        monkeypatch.delenv(name, raising=False)
    for name, text in (VALID | {"DATABASE_URL": "", "WORKERS": " "}).items():
        monkeypatch.setenv(name, text)
    settings = load_settings()
    assert (settings.port, settings.workers, settings.allowed_origins) == (9001, 1, ())
    assert settings.database_url is None


def test_env_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(f"SECRET_KEY={KEY}\nAPP_NAME=Caf\xe9\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="UTF-8"):
        load_settings({}, tmp_path / ".env")


def test_all_problems_are_listed() -> None:
    wrong = {
        "SECRET_KEY": "short",
        "DATABASE_URL": "mysql://db/kitsu",
        "PORT": "0",
        "WORKERS": "many",
        "ALGORITHM": "none",
        "DEBUG": "maybe",
        "ALLOWED_ORIGINS": "*",
        "LOG_LEVEL": "loud",
        "DB_POOL_SIZE": "0",
        "REFRESH_TOKEN_EXPIRE_DAYS": "-1",
    }
    with pytest.raises(SettingsError) as caught:
        load_settings(wrong, NO_FILE)
    first, *lines = str(caught.value).splitlines()
    assert "missing or wrong" in first
    assert {line.split()[0] for line in lines} == set(wrong)


@pytest.mark.parametrize(
    ("environ", "domain", "origins"),
    [
        ({}, "localhost", ["http://localhost:3000", "http://localhost:8000"]),
        ({"PORT": "9000"}, "localhost", ["http://localhost:3000", "http://localhost:9000"]),
        ({"FRONTEND_URL": "https://Example.org:443/app"}, "example.org", ["https://example.org"]),
        (
            {"FRONTEND_URL": "https://example.org", "PUBLIC_URL": "https://api.example.org/v1"},
            "example.org",
            ["https://example.org", "https://api.example.org"],
        ),
        (
            {"FRONTEND_URL": "https://www.example.org", "PUBLIC_URL": "https://api.example.org"},
            "www.example.org",
            ["https://www.example.org"],
        ),
        (
            {
                "FRONTEND_URL": "https://www.example.org",
                "ALLOWED_ORIGINS": "https://m.example.org,https://example.org.evil.example,https://badexample.org",
                "PASSKEY_DOMAIN": "example.org",
            },
            "example.org",
            ["https://www.example.org", "https://m.example.org"],
        ),
    ],
)
def test_passkeys_work_at_origins_within_their_domain(environ: dict[str, str], domain: str, origins: list[str]) -> None:
    assert load(**environ).relying_party == (domain, origins)


@pytest.mark.parametrize("key", ["", " ", "k" * 31, "change-me-to-at-least-32-random-bytes", f" {'k' * 31} "])
def test_short_secret_key_is_refused(key: str) -> None:
    message = problem(SECRET_KEY=key)
    assert message.startswith("SECRET_KEY ")
    assert "32 random bytes or more" in message


def test_example_secret_key_is_refused() -> None:
    example = re.search("^SECRET_KEY=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert example is not None
    assert "still the one of .env.example" in problem(SECRET_KEY=example[1])


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_database_url_gets_driver_of_kitsu(scheme: str) -> None:
    settings = load(DATABASE_URL=f"{scheme}://kitsu:p%40ss%2Fw%3Ard%25@db.example:5433/kitsu")
    assert settings.database_url == URL.create("postgresql+asyncpg", "kitsu", "p@ss/w:rd%", "db.example", 5433, "kitsu")


def test_database_url_of_socket_is_accepted() -> None:
    url = load(DATABASE_URL="postgresql:///kitsu?host=/var/run/postgresql").database_url
    assert url is not None
    assert (url.database, url.host, url.query) == ("kitsu", None, {"host": "/var/run/postgresql"})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mysql://kitsu@db/kitsu", "it begins with mysql://."),
        ("postgresql+psycopg://kitsu@db/kitsu", "it begins with postgresql+psycopg://."),
        ("sqlite:///kitsu.db", "it begins with sqlite://."),
        ("postgresql://kitsu@db", "it names no database."),
        ("postgresql://kitsu@db/", "it names no database."),
        ("garbage", "it does not have this form."),
        ("db.example:5432/kitsu", "it does not have this form."),
        ("postgresql://kitsu@db:port/kitsu", "it does not have this form."),
        ("postgresql://kitsu@db:99999/kitsu", "the port 99999 is out of range."),
    ],
)
def test_wrong_database_url_is_refused(text: str, reason: str) -> None:
    form = "postgresql+asyncpg://user:password@host:5432/name"
    assert problem(DATABASE_URL=text) == f"DATABASE_URL must be {form}; {reason}"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.crt", "=/nowhere/ca.crt can't be read: No such file"),
        ("sslmode=verify-full&sslrootcert=/dev/null", "=/dev/null can't be read: it holds no certificate"),
        ("sslmode=require&sslrootcert=system", "sslrootcert, which needs ssl=verify-full or verify-ca"),
        ("sslrootcert=system", "sslrootcert, which needs ssl=verify-full or verify-ca"),
        ("sslcert=/nowhere/client.crt", "an option that asyncpg does not know: sslcert"),
    ],
)
def test_wrong_certificates_are_refused(query: str, reason: str) -> None:
    message = problem(DATABASE_URL=f"postgresql://kitsu:hunter2@db.example/kitsu?{query}")
    assert message.startswith("DATABASE_URL must be ")
    assert reason in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("kitsu:p%40@a.example:5432,b.example:6432/kitsu", ("a.example:5432", "b.example:6432")),
        ("a,b/kitsu?target_session_attrs=read-write", ("a:5432", "b:5432")),
        ("/kitsu?host=a:1&host=b:2", ("a:1", "b:2")),
    ],
)
def test_several_hosts_are_accepted(address: str, hosts: tuple[str, ...]) -> None:
    url = load(DATABASE_URL=f"postgresql://{address}").database_url
    assert url is not None
    assert (url.database, url.query["host"]) == ("kitsu", hosts)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("a:1,/kitsu", "its hosts are not understood"),
        ("a:1,[::1]:2/kitsu", "its hosts are not understood"),
        ("/kitsu?host=a&host=b", "its hosts are not understood"),
        ("a:1,b:99999/kitsu", "one of the ports [1, 99999] is out of range"),
        ("a/kitsu?statement_cache_size=0", "set DB_POOLER=transaction in its place"),
        ("a/kitsu?command_timeout=5", "an option that asyncpg does not know: command_timeout"),
    ],
)
def test_addresses_that_cannot_work_are_refused(address: str, reason: str) -> None:
    assert reason in problem(DATABASE_URL=f"postgresql://{address}")


def test_pooler_needs_both_addresses() -> None:
    url = "postgresql://kitsu@db.example/kitsu"
    assert "DATABASE_DIRECT_URL is not" in problem(DATABASE_URL=url, DB_POOLER="transaction")
    assert "DATABASE_URL is not: give both" in problem(DATABASE_URL="", DATABASE_DIRECT_URL=url)
    assert load(DATABASE_URL=url, DATABASE_DIRECT_URL=url, DB_POOLER="transaction").db_pooler == "transaction"


def test_notice_of_a_stop_is_shorter_than_the_stop() -> None:
    assert "less than STOP_TIMEOUT_SECONDS" in problem(STOP_NOTICE_SECONDS="5", STOP_TIMEOUT_SECONDS="5")
    assert load(STOP_NOTICE_SECONDS="4", STOP_TIMEOUT_SECONDS="5").stop_notice_seconds == 4


def test_certificates_of_machine_are_accepted() -> None:
    url = load(DATABASE_URL="postgresql://kitsu@db.example/kitsu?sslmode=verify-full&sslrootcert=system").database_url
    assert url is not None
    assert url.query == {"ssl": "verify-full", "sslrootcert": "system"}


def test_database_parts_make_url() -> None:
    parts = PARTS | {"DB_PASSWORD": "p@ss/w:rd%#?"}
    url = load(DATABASE_URL="", **parts).database_url
    assert url == URL.create("postgresql+asyncpg", "kitsu", "p@ss/w:rd%#?", "db.example", 5433, "kitsu")
    # The workers get the URL as text, in their environment.
    assert load(DATABASE_URL=url.render_as_string(hide_password=False)).database_url == url
    few = load(DATABASE_URL="", **(parts | {"DB_PORT": "", "DB_PASSWORD": ""})).database_url
    assert few == URL.create("postgresql+asyncpg", "kitsu", host="db.example", database="kitsu")


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (("DB_HOST",), "DB_NAME, DB_USER"),
        (("DB_PASSWORD",), "DB_HOST, DB_NAME, DB_USER"),
        (("DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD"), "DB_NAME"),
        (("DB_NAME", "DB_USER"), "DB_HOST"),
    ],
)
def test_incomplete_database_parts_are_refused(given: tuple[str, ...], missing: str) -> None:
    message = problem(DATABASE_URL="", **{name: PARTS[name] for name in given})
    assert message.startswith(f"{missing} not set")


@pytest.mark.parametrize("port", ["0", "65536", "five"])
def test_invalid_database_port_is_refused(port: str) -> None:
    assert problem(DATABASE_URL="", **(PARTS | {"DB_PORT": port})).startswith("DB_PORT must be 1 to 65535; ")


def test_missing_database_without_embedded_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    message = problem(DATABASE_URL="")
    assert message.startswith("DATABASE_URL is not set")
    assert all(name in message for name in PARTS)
    assert load().database_url is not None
    with pytest.raises(SettingsError, match="DATABASE_URL is not set"):
        load_database_url({}, NO_FILE)


def test_database_url_is_read_without_other_settings() -> None:
    assert load_database_url({}, NO_FILE) is None
    assert load_database_url({"DATABASE_URL": VALID["DATABASE_URL"], "PORT": "wrong"}, NO_FILE) == load().database_url
    with pytest.raises(SettingsError, match="DB_NAME"):
        load_database_url({"DB_HOST": "db", "DB_USER": "kitsu"}, NO_FILE)


@pytest.mark.parametrize(
    "environ",
    [
        {"SECRET_KEY": "hunter2"},
        {"DATABASE_URL": "mysql://kitsu:hunter2@db/kitsu"},
        {"DATABASE_URL": "postgresql://kitsu:hunter2@db"},
        {"DATABASE_URL": "postgresql://kitsu:hunter2@db:port/kitsu"},
        {"DATABASE_URL": "//kitsu:hunter2@db/kitsu"},
        {"DATABASE_URL": "", "DB_PASSWORD": "hunter2"},
        {"ALLOWED_ORIGINS": "https://kitsu:hunter2@a.example"},
    ],
)
def test_messages_do_not_repeat_secrets(environ: dict[str, str]) -> None:
    assert "hunter2" not in problem(**environ)


def test_env_example_and_settings_page_match_fields() -> None:
    assert (ROOT / ".env.example").read_text() == documentation.env_example(), "run make settings"
    (table,) = documentation.TABLE.findall((ROOT / documentation.PAGE).read_text())
    assert table == documentation.settings_table(), "run make settings"


def test_documentation_writes_both_files(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = (ROOT / documentation.PAGE).read_text()
    (tmp_path / documentation.PAGE).write_text(documentation.TABLE.sub("old", page))
    documentation.write(tmp_path)
    for name in (documentation.PAGE, ".env.example"):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text()


def test_env_example_shows_defaults() -> None:
    values = dict(re.findall("^#?([A-Z0-9_]+)=(.*)$", documentation.env_example(), re.MULTILINE))
    assert [*values] == [*SETTINGS]
    assert set(values) == ({name.upper() for name in Settings.__struct_fields__} | set(PARTS)) - {"OIDC_PROVIDERS"}
    assert values.pop("ALLOWED_ORIGINS") == "http://localhost:3000"
    without = {"SECRET_KEY", "DATABASE_URL", "DATABASE_DIRECT_URL", "DATABASE_REPLICA_URLS", *PARTS}
    shown = {name: text for name, text in values.items() if name not in without}
    assert load(**shown) == load()
