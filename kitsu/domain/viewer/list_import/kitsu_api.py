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
    """The anime and mappings that a page includes, by type and id."""

    def __init__(self, resources: Sequence[Value]) -> None:
        self._found: dict[tuple[Any, Any], dict[str, Any]] = {}
        for resource in map(members, resources):
            if (kind := decoded(resource.get("type"))) in {"anime", "mappings"}:
                key = kind, str(decoded(resource.get("id")))
                self._found[key] = {name: decoded(resource.get(name)) for name in ("attributes", "relationships")}

    def attributes(self, identifier: Any) -> dict[str, Any]:
        return mapping(self._resource(identifier).get("attributes"))

    def related(self, identifier: Any, name: str) -> list[Any]:
        return _linked(mapping(self._resource(identifier).get("relationships")), name)

    def _resource(self, identifier: Any) -> dict[str, Any]:
        identifier = mapping(identifier)
        return self._found.get((identifier.get("type"), str(identifier.get("id"))), {})


def matches(document: Value) -> bool:
    """Return whether the file has pages of resources with attributes."""
    return any(
        "attributes" in members(each) for page in pages(document)[:1] for each in items(members(page).get("data"))[:1]
    )


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
            attributes = included.attributes(anime)
            yield {
                "attributes": mapping(values.get("attributes")),
                "anime": mapping(anime),
                "is_manga": bool(_linked(relationships, "manga")),
                "title": first_title(attributes.get("canonicalTitle"), *mapping(attributes.get("titles")).values()),
                "year": str(attributes.get("startDate") or "")[:4],
                "mappings": [included.attributes(item) for item in included.related(anime, "mappings")],
            }


def _linked(relationships: dict[str, Any], name: str) -> list[Any]:
    """Return the identifiers of a relationship to one resource or to several."""
    data = mapping(relationships.get(name)).get("data")
    return data if isinstance(data, list) else [data] if data else []


def _read_row(number: int, title: str, values: dict[str, Any]) -> ListEntry:
    attributes, anime = values["attributes"], values["anime"]
    if values["is_manga"] or is_manga(anime.get("type")):
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
    ids = [("kitsu", read_id(anime.get("id")))]
    ids += [
        (provider, read_id(each.get("externalId")))
        for each in values["mappings"]
        if (provider := _SITES.get(squeezed(each.get("externalSite"))))
    ]
    return row.entry(number, title, ids, year=values["year"], updated_at=attributes.get("updatedAt"))


def _rating(attributes: dict[str, Any]) -> tuple[str, Scale]:
    """Return the name and the scale of the score: 20 points, formerly five stars as a text."""
    return ("ratingTwenty", _of_twenty) if "ratingTwenty" in attributes else ("rating", _of_five)
