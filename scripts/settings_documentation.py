"""`make settings`: writes `.env.example` and the table of `docs/settings.md` from the fields of the settings."""

import ast
import inspect
import re
import textwrap
from datetime import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from kitsu.settings import SETTINGS, Settings

PAGE = "docs/settings.md"
TABLE = re.compile(
    r"(?<=<!-- settings: written by `make settings` -->\n\n).*?(?=\n\n<!-- end of settings -->)", re.DOTALL
)


def env_example() -> str:
    """Return the text of `.env.example`."""
    lines = [
        "# Kitsu's settings, written by `make settings`. `make run` copies this file to .env with a new SECRET_KEY.",
        "# The environment wins over .env. A line that begins with # shows the default or an example.",
        "",
    ]
    help_texts = _help_texts()
    for name, (parser, default, shown) in SETTINGS.items():
        if shown.section:
            lines += ["", f"# --- {shown.section}"]
        values = parser.accepts.replace(" ", "\xa0")  # in one line
        lines += [line.replace("\xa0", " ") for line in _comment(f"{help_texts[name]} ({values})")]
        lines.append(f"{name}={shown.preset}" if shown.preset else f"#{name}={shown.example or as_text(default)}")
    return "\n".join(lines) + "\n"


def settings_table() -> str:
    """Return the table of `docs/settings.md`."""
    rows = ["| name | default | values | meaning |", "| --- | --- | --- | --- |"]
    help_texts = _help_texts()
    for name, (parser, default, _) in SETTINGS.items():
        shown = "required" if default is msgspec.NODEFAULT else as_text(default) or "none"
        rows.append(f"| `{name}` | {shown} | {parser.accepts} | {help_texts[name]} |")
    return "\n".join(rows)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ")


def as_text(value: Any) -> str:
    """Return a default as the text that its setting would have."""
    if isinstance(value, tuple):
        return "/".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, time):
        return f"{value:%H:%M}"
    return "" if value is None else str(value)


def _help_texts() -> dict[str, str]:
    """Return the docstring below each field, which Python keeps in the source alone."""
    body = ast.parse(inspect.getsource(Settings)).body[0].body  # type: ignore[attr-defined] # it is a class
    return {
        ast.unparse(field.target).upper(): " ".join(docstring.value.value.split())
        for field, docstring in pairwise(body)
        if isinstance(field, ast.AnnAssign)
    }


def write(folder: Path) -> None:
    """Write both into the checkout at this folder."""
    (folder / ".env.example").write_text(env_example(), encoding="utf-8")
    page = folder / PAGE
    page.write_text(TABLE.sub(lambda _: settings_table(), page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write(Path.cwd())
