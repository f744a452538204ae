"""Lists for imports, and the anime that they name."""

import json
from typing import Any
from uuid import UUID
from xml.sax.saxutils import escape

from kitsu.domain.viewer.list_import.own_csv import guarded
from tests.factories import Backend, Viewer, insert

FIELDS = (
    "status",
    "score",
    "notes",
    "episodes_watched",
    "started_on",
    "completed_on",
    "times_rewatched",
    "is_rewatching",
    "tags",
)


async def known_anime(backend: Backend, number: int, **columns: Any) -> str:
    """Insert an anime with this id at MyAnimeList."""
    anime_id = await backend.anime(**{"title": f"Title {number}", **columns})
    await link(backend, anime_id, number)
    return anime_id


async def link(backend: Backend, anime_id: str, number: int) -> None:
    await backend.rows.execute(
        "INSERT INTO external_ids (provider, external_id, anime_id) VALUES ('myanimelist', $1, $2)",
        *(str(number), UUID(anime_id)),
    )


async def entry(backend: Backend, viewer: Viewer, anime_id: str, **columns: Any) -> None:
    """Insert an entry of a viewer's library."""
    await insert(backend.rows, "library_entries", {"user_id": viewer.id, "anime_id": UUID(anime_id), **columns})


def row(number: int, status: str = "watching", **fields: Any) -> dict[str, Any]:
    """Return an entry of a list, with only these fields."""
    return {
        "entry": {"status": status, "anime": {"title": f"Title {number}"}, **fields},
        "external_ids": {"myanimelist": str(number)},
    }


def as_json(*rows: dict[str, Any]) -> bytes:
    """Return the rows as Kitsu's JSON."""
    return json.dumps({"exported_at": "2026-11-20T10:00:00Z", "entries": rows}).encode()


def as_csv(*rows: dict[str, Any]) -> bytes:
    """Return the rows as Kitsu's CSV, all of which have the fields of the first one."""
    names = [name for name in FIELDS if name in rows[0]["entry"]]
    lines = [",".join(["title", *names, "anime_id", "external_ids"])]
    for each in rows:
        fields, ids = each["entry"], each["external_ids"]
        cells = [fields["anime"]["title"], *(guarded(str(fields[name])) for name in names)]
        lines.append(",".join([*cells, "", f"myanimelist:{ids['myanimelist']}"]))
    return "\n".join(lines).encode()


def as_xml(*rows: dict[str, Any]) -> bytes:
    """Return the rows as MyAnimeList's XML."""
    elements = {
        "status": "my_status",
        "score": "my_score",
        "notes": "my_comments",
        "episodes_watched": "my_watched_episodes",
        "times_rewatched": "my_times_watched",
    }
    anime = []
    for each in rows:
        fields = {elements[name]: value for name, value in each["entry"].items() if name in elements}
        fields |= {"series_animedb_id": each["external_ids"]["myanimelist"]}
        fields |= {"series_title": each["entry"]["anime"]["title"]}
        inside = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items())
        anime.append(f"<anime>{inside}</anime>")
    return f"<?xml version='1.0'?><myanimelist>{''.join(anime)}</myanimelist>".encode()


async def bring(viewer: Viewer, data: bytes, query: str = "", status: int = 200) -> dict[str, Any]:
    """Import a list and return the body of the response."""
    response = await viewer.request("POST", f"/library/import{query}", content=data)
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


async def fields_of(viewer: Viewer, anime_id: str) -> dict[str, Any]:
    """Return the fields of a stored entry that an import can set."""
    stored = await viewer.read(f"/library/{anime_id}")
    return {name: stored[name] for name in FIELDS}
