"""The JSON:API of the site kitsu.app, formerly kitsu.io: library entries with the anime and mappings they include."""

from collections.abc import Iterator, Sequence
from typing import Any

from kitsu.domain.viewer.list_import.entries import EntryError, ListEntry
from kitsu.domain.viewer.list_import.json_values import Value, decoded, items, mapping, members, pages
from kitsu.domain.viewer.list_import.rows import Row, Rows, Scale, read_rows
from kitsu.domain.viewer.list_import.values import MANGA, first_title, is_manga, read_id, squeezed

_SITES = {
    "myanimelistanime": "myanimelist",
    "anilist": "anilist",
    "anilistanime": "anilist",
    "anidb": "anidb",
    "anidbanime": "anidb",
    "animenewsnetwork": "animenewsnetwork",
}
"""The `externalSite` of a mapping, squeezed, to the provider."""


def _of_twenty(score: float) -> float | None:
    return score / 2 if score <= 20 else None


def _of_five(stars: float) -> float | None:
    return stars * 2 if stars <= 5 else None


class _Included:
    """What a page includes about anime and mappings, by their ids."""

    def __init__(self, resources: Sequence[Value]) -> None:
        self._anime: dict[str, tuple[str, str, list[str]]] = {}
        self._mappings: dict[str, tuple[str, str | None]] = {}
        self._of_items: dict[str, list[str]] = {}
        """The mappings that name their anime, where it does not name them."""
        for resource in map(members, resources):
            kind = decoded(resource.get("type"))
            if kind in ("anime", "mappings"):
                found = mapping(decoded(resource.get("attributes")))
                resource_id = str(decoded(resource.get("id")))
                if kind == "anime":
                    title = first_title(found.get("canonicalTitle"), *mapping(found.get("titles")).values())
                    linked = _linked(decoded(resource.get("relationships")), "mappings")
                    year = str(found.get("startDate") or "")[:4]
                    self._anime[resource_id] = title, year, [str(mapping(each).get("id")) for each in linked]
                elif provider := _SITES.get(squeezed(found.get("externalSite"))):
                    self._mappings[resource_id] = provider, read_id(found.get("externalId"))
                    for each in _linked(decoded(resource.get("relationships")), "item"):
                        self._of_items.setdefault(str(mapping(each).get("id")), []).append(resource_id)

    def title_and_year(self, anime_id: object) -> tuple[str, str]:
        return self._anime.get(str(anime_id), ("", "", []))[:2]

    def ids(self, anime_id: object) -> list[tuple[str, str | None]]:
        """Return the ids of an anime at other sites."""
        mappings = self._anime.get(str(anime_id), ("", "", []))[2] or self._of_items.get(str(anime_id), [])
        return [self._mappings[each] for each in mappings if each in self._mappings]


def matches(document: Value) -> bool:
    """Return whether the file has pages of library entries."""
    first = [members(each) for page in pages(document)[:1] for each in items(members(page).get("data"))[:1]]
    return any(squeezed(decoded(each.get("type"))) == "libraryentries" for each in first)


def read(document: Value) -> Rows:
    """Return the entries. Raises ListTooLarge."""
    return read_rows(_rows(document), lambda values: values["title"], _read_row)


def _rows(document: Value) -> Iterator[dict[str, Any]]:
    for page in map(members, pages(document)):
        included = _Included(items(page.get("included")))
        for each in items(page.get("data")):
            values = mapping(decoded(each))
            relationships = mapping(values.get("relationships"))
            anime = next((item for name in ("anime", "media") for item in _linked(relationships, name)), None)
            anime_id = mapping(anime).get("id")
            title, year = included.title_and_year(anime_id)
            yield {
                "attributes": mapping(values.get("attributes")),
                "is_manga": bool(_linked(relationships, "manga")) or is_manga(mapping(anime).get("type")),
                "title": title,
                "year": year,
                "ids": [("kitsu", read_id(anime_id)), *included.ids(anime_id)],
            }


def _linked(relationships: Any, name: str) -> list[Any]:
    """Return the identifiers of a relationship to one resource or to several."""
    data = mapping(mapping(relationships).get(name)).get("data")
    return data if isinstance(data, list) else [data] if data else []


def _read_row(number: int, title: str, values: dict[str, Any]) -> ListEntry:
    attributes = values["attributes"]
    if values["is_manga"]:
        raise EntryError(MANGA)
    row = Row(attributes)
    row.status(attributes.get("status"))
    row.rewatching("reconsuming")
    name, scale = _rating(attributes)
    row.score(name, scale)
    row.text("notes", "notes")
    row.count("episodes_watched", "progress")
    row.count("times_rewatched", "reconsumeCount")
    row.date("started_on", "startedAt")
    row.date("completed_on", "finishedAt")
    return row.entry(number, title, values["ids"], year=values["year"], updated_at=attributes.get("updatedAt"))


def _rating(attributes: dict[str, Any]) -> tuple[str, Scale]:
    """Return the name and the scale of the score: 20 points, formerly five stars as a text."""
    return ("ratingTwenty", _of_twenty) if "ratingTwenty" in attributes else ("rating", _of_five)
