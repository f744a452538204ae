"""Settings: what each accepts, what is refused and how it is said, and that all of them are documented."""

import importlib.util
import re
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from kitsu.settings import Settings, SettingsError, load_database_url, load_settings

ROOT = Path(__file__).parent.parent
NO_FILE = Path("/nonexistent/.env")
KEY = "k" * 32
VALID = {"SECRET_KEY": KEY, "DATABASE_URL": "postgresql+asyncpg://kitsu:pw@db.example:5433/kitsu"}
PARTS = {"DB_HOST": "db.example", "DB_PORT": "5433", "DB_NAME": "kitsu", "DB_USER": "kitsu", "DB_PASSWORD": "pw"}


def load(**environ: str) -> Settings:
    """Settings of an environment that is fine but for what the test sets."""
    return load_settings(VALID | environ, NO_FILE)


def problem(**environ: str) -> str:
    """The one thing that is said to be wrong with such an environment."""
    with pytest.raises(SettingsError) as caught:
        load(**environ)
    (only,) = caught.value.problems
    return only


def test_defaults() -> None:
    assert load_settings({"SECRET_KEY": KEY}, NO_FILE) == Settings(secret_key=KEY, database_url=None)
    settings = load()
    assert (settings.access_token_expire_minutes, settings.refresh_token_expire_days) == (30, 14)
    assert (settings.algorithm, settings.allowed_origins, settings.debug) == ("HS256", (), False)
    assert (settings.host, settings.port, settings.app_name) == ("127.0.0.1", 8000, "Kitsu")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SECRET_KEY", "я" * 16, "я" * 16),
        ("DB_POOL_SIZE", "3", 3),
        ("DB_MAX_OVERFLOW", "0", 0),
        ("DB_POOL_RECYCLE", "-1", -1),
        ("DB_POOL_PRE_PING", "true", True),
        ("DB_POOL_PRE_PING", "Off", False),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "5", 5),
        ("REFRESH_TOKEN_EXPIRE_DAYS", "30", 30),
        ("ALGORITHM", "HS512", "HS512"),
        ("ALLOWED_ORIGINS", "https://a.example", ("https://a.example",)),
        ("DEBUG", "1", True),
        ("DEBUG", "no", False),
        ("APP_NAME", " Кицунэ ", "Кицунэ"),
        ("HOST", "::1", "::1"),
        ("PORT", "9000", 9000),
        ("WORKERS", "4", 4),
        ("LOG_LEVEL", "WARNING", "warning"),
    ],
)
def test_value(name: str, text: str, value: object) -> None:
    assert getattr(load(**{name: text}), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("DB_POOL_SIZE", 1, 1000),
        ("DB_MAX_OVERFLOW", 0, 1000),
        ("DB_POOL_RECYCLE", -1, 86_400),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", 1, 1440),
        ("REFRESH_TOKEN_EXPIRE_DAYS", 1, 3650),
        ("PORT", 1, 65_535),
        ("WORKERS", 1, 256),
        ("WORKER_STALL_SECONDS", 0, 3600),
    ],
)
def test_number(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(load(**{name: str(value)}), name.lower()) == value
    for text in (str(low - 1), str(high + 1), "five", "1.5", "1e3", "0x10", "+5", "1_000", "٣", "9" * 5000):
        assert problem(**{name: text}).startswith(f"{name} must be a whole number from {low} to {high}, not ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DEBUG", "maybe"),
        ("DB_POOL_PRE_PING", "2"),
        ("ALGORITHM", "none"),
        ("ALGORITHM", "RS256"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_choice(name: str, text: str) -> None:
    said = problem(**{name: text})
    assert said.startswith(f"{name} must be ")
    assert text in said


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"SECRET_KEY={KEY}\nPORT=9001\n# PORT=1\nHOST='::1' # with a remark\nAPP_NAME=${{HOME}}\n")
    settings = load_settings({"PORT": "9002"}, file)
    assert (settings.port, settings.host, settings.app_name) == (9002, "::1", "${HOME}")


def test_file_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=9001\nALLOWED_ORIGINS=\nDB_HOST=\n")
    monkeypatch.chdir(tmp_path)
    for name in PARTS:
        monkeypatch.delenv(name, raising=False)
    for name, text in (VALID | {"DATABASE_URL": "", "WORKERS": " "}).items():
        monkeypatch.setenv(name, text)
    settings = load_settings()
    assert (settings.port, settings.workers, settings.allowed_origins) == (9001, 1, ())
    assert settings.database_url is None


def test_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(f"SECRET_KEY={KEY}\nAPP_NAME=Caf\xe9\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="UTF-8"):
        load_settings({}, tmp_path / ".env")


def test_all_problems_at_once() -> None:
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


@pytest.mark.parametrize("key", ["", " ", "k" * 31, "change-me-to-at-least-32-random-bytes", f" {'k' * 31} "])
def test_secret_key_refused(key: str) -> None:
    said = problem(SECRET_KEY=key)
    assert said.startswith("SECRET_KEY ")
    assert "32" in said


def test_secret_key_of_the_example_is_refused() -> None:
    example = re.search("^SECRET_KEY=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert example is not None
    assert "still the one of .env.example" in problem(SECRET_KEY=example[1])


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_database_url(scheme: str) -> None:
    settings = load(DATABASE_URL=f"{scheme}://kitsu:p%40ss%2Fw%3Ard%25@db.example:5433/kitsu")
    assert settings.database_url == URL.create("postgresql+asyncpg", "kitsu", "p@ss/w:rd%", "db.example", 5433, "kitsu")


def test_database_url_of_a_socket() -> None:
    url = load(DATABASE_URL="postgresql:///kitsu?host=/var/run/postgresql").database_url
    assert url is not None
    assert (url.database, url.host, url.query) == ("kitsu", None, {"host": "/var/run/postgresql"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mysql://kitsu@db/kitsu", "must begin with postgresql"),
        ("postgresql+psycopg://kitsu@db/kitsu", "must begin with postgresql"),
        ("sqlite:///kitsu.db", "must begin with postgresql"),
        ("postgresql://kitsu@db", "names no database"),
        ("postgresql://kitsu@db/", "names no database"),
        ("garbage", "is no database address"),
        ("db.example:5432/kitsu", "is no database address"),
        ("postgresql://kitsu@db:port/kitsu", "is no database address"),
        ("postgresql://kitsu@db:99999/kitsu", "is no database address"),
    ],
)
def test_database_url_refused(text: str, said: str) -> None:
    refusal = problem(DATABASE_URL=text)
    assert refusal.startswith(f"DATABASE_URL {said}")
    assert "postgresql+asyncpg://" in refusal


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.crt", "/nowhere/ca.crt that can't be read: No such file"),
        ("sslmode=verify-full&sslrootcert=/dev/null", "/dev/null that can't be read: it holds no certificate"),
        ("sslmode=require&sslrootcert=system", "sslrootcert, which is for ssl=verify-full or verify-ca"),
        ("sslrootcert=system", "sslrootcert, which is for ssl=verify-full or verify-ca"),
        ("sslcert=/nowhere/client.crt", "an option that asyncpg does not know: sslcert"),
    ],
)
def test_certificates_refused(query: str, said: str) -> None:
    refusal = problem(DATABASE_URL=f"postgresql://kitsu:hunter2@db.example/kitsu?{query}")
    assert refusal.startswith("DATABASE_URL ")
    assert said in refusal
    assert "hunter2" not in refusal


def test_certificates_of_the_machine() -> None:
    url = load(DATABASE_URL="postgresql://kitsu@db.example/kitsu?sslmode=verify-full&sslrootcert=system").database_url
    assert url is not None
    assert url.query == {"ssl": "verify-full", "sslrootcert": "system"}


def test_database_parts() -> None:
    parts = PARTS | {"DB_PASSWORD": "p@ss/w:rd%#?"}
    url = load(DATABASE_URL="", **parts).database_url
    assert url == URL.create("postgresql+asyncpg", "kitsu", "p@ss/w:rd%#?", "db.example", 5433, "kitsu")
    # The workers are told the address as a text.
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
def test_database_parts_incomplete(given: tuple[str, ...], missing: str) -> None:
    said = problem(DATABASE_URL="", **{name: PARTS[name] for name in given})
    assert said.startswith(f"{missing} not set")


@pytest.mark.parametrize("port", ["0", "65536", "five"])
def test_database_port_refused(port: str) -> None:
    assert problem(DATABASE_URL="", **(PARTS | {"DB_PORT": port})).startswith("DB_PORT must be a whole number")


def test_database_is_asked_for_without_the_embedded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    said = problem(DATABASE_URL="")
    assert said.startswith("DATABASE_URL is not set")
    assert all(name in said for name in PARTS)
    assert load().database_url is not None
    with pytest.raises(SettingsError, match="DATABASE_URL is not set"):
        load_database_url({}, NO_FILE)


def test_database_alone() -> None:
    assert load_database_url({}, NO_FILE) is None
    assert load_database_url({"DATABASE_URL": VALID["DATABASE_URL"], "PORT": "wrong"}, NO_FILE) == load().database_url
    with pytest.raises(SettingsError, match="DB_NAME"):
        load_database_url({"DB_HOST": "db", "DB_USER": "kitsu"}, NO_FILE)


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("https://a.example, http://localhost:3000 ,", ("https://a.example", "http://localhost:3000")),
        ('["https://a.example", "http://localhost:3000"]', ("https://a.example", "http://localhost:3000")),
        ("[]", ()),
        ("HTTPS://A.Example", ("https://a.example",)),
        ("https://a.example:443,http://b.example:80", ("https://a.example", "http://b.example")),
        ("https://a.example:80,http://b.example:443", ("https://a.example:80", "http://b.example:443")),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
    ],
)
def test_origins(text: str, origins: tuple[str, ...]) -> None:
    assert load(ALLOWED_ORIGINS=text).allowed_origins == origins


ORIGINS_REFUSED = """
* ["*"] https://*.example https://a.example,* https://a.example/ https://a.example/path https://a.example? https://a.example#
https://a.example?x=1 a.example //a.example ftp://a.example null https:// https:a.example https://a.example:99999
https://a.example:port https://u:p@a.example https://u@a.example https://:p@a.example https://@a.example [1] [null] [ {}
["https://a.example" http://[::1 https://a.example;https://b.example https://a.example:0
"""


@pytest.mark.parametrize(
    "text", [*ORIGINS_REFUSED.split(), "https://a b.example", "https://a.example https://b.example"]
)
def test_origins_refused(text: str) -> None:
    assert problem(ALLOWED_ORIGINS=text).startswith("ALLOWED_ORIGINS ")


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
def test_secrets_are_not_said(environ: dict[str, str]) -> None:
    assert "hunter2" not in problem(**environ)


SETTINGS = {name.upper() for name in Settings.__struct_fields__} | set(PARTS)


def test_example_documents_every_setting() -> None:
    example = (ROOT / ".env.example").read_text()
    values = dict(re.findall("^#?([A-Z0-9_]+)=(.*)$", example, re.MULTILINE))
    assert set(values) == SETTINGS
    defaults = {name: text for name, text in values.items() if name not in {"SECRET_KEY", "DATABASE_URL", *PARTS}}
    assert defaults.pop("ALLOWED_ORIGINS") == "http://localhost:3000"
    assert load(**defaults) == load()


def test_readme_documents_every_setting() -> None:
    assert set(re.findall("`([A-Z0-9_]+)`", (ROOT / "README.md").read_text())) >= SETTINGS
