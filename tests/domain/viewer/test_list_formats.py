"""Lists of other sites than MyAnimeList's XML and AniList's API, each in a small file."""

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any
from uuid import UUID

import msgspec
import pytest

from kitsu.domain.viewer.list_import.entries import LibraryFields, ListEntry, ListFileError, NotImported
from kitsu.domain.viewer.list_import.files import read_list
from tests.domain.viewer.test_list_files import archive, problem

Json = dict[str, Any]
ALL = frozenset(LibraryFields.__struct_fields__)


def read(file: Any) -> list[ListEntry | NotImported]:
    return read_list(json.dumps(file).encode())


def entries(file: Any) -> list[ListEntry]:
    found = read(file)
    assert [each for each in found if isinstance(each, NotImported)] == []
    return [each for each in found if isinstance(each, ListEntry)]


def reasons(found: list[ListEntry | NotImported]) -> list[tuple[int, str | None, str]]:
    return [(each.number, each.title, each.reason) for each in found if isinstance(each, NotImported)]


def test_download_of_anilist_is_read() -> None:
    rows = [
        {"series_type": 0, "series_id": 5, "status": 2, "score": 90, "progress": 37, "repeat": 1, "notes": "so",
         "started_on": 20150100, "finished_on": 20150203, "updated_at": "2016-01-02 03:04:05"},
        *({"series_type": 0, "series_id": 10 + status, "status": status} for status in (0, 1, 3, 4, 5)),
        {"series_type": 1, "series_id": 30001, "status": 2},
        {"series_type": 0, "series_id": 7, "status": 9},
        {"series_type": 0, "status": 2},
    ]  # fmt: skip
    found = read({"user": {"display_name": "x"}, "lists": rows, "activity": []})
    assert found[0] == ListEntry(
        number=1,
        title="",
        ids=(("anilist", "5"),),
        status="completed",
        score=9.0,
        notes="so",
        episodes_watched=37,
        started_on="2015-01",
        completed_on="2015-02-03",
        times_rewatched=1,
        updated_at=datetime(2016, 1, 2, 3, 4, 5, tzinfo=UTC),
        absent=frozenset({"tags"}),
    )
    others = [(each.status, each.is_rewatching) for each in found[1:] if isinstance(each, ListEntry)]
    assert others == [
        ("watching", False),
        ("plan_to_watch", False),
        ("dropped", False),
        ("on_hold", False),
        ("watching", True),
    ]
    assert reasons(found) == [
        (7, None, "It is a manga."),
        (8, None, 'Its status "9" is not known.'),
        (9, None, "Nothing says which anime it is."),
    ]


def test_list_of_shikimori_is_read() -> None:
    rows = [
        {"target_title": "Death Note", "target_type": "Anime", "target_id": 1535, "status": "completed", "score": 9,
         "rewatches": 2, "episodes": 37, "text": "so"},
        {"target_title": "", "target_title_ru": "Врата", "target_id": 9253, "status": "rewatching", "rewatches": 1},
        {"target_title": "Monster", "target_type": "Manga", "target_id": 1, "status": "completed"},
        {"target_title": "A", "target_type": "Ranobe", "target_id": 1, "status": "planned"},
        {"target_title": "B", "target_id": 1, "status": "completed", "chapters": 162, "volumes": 18},
    ]  # fmt: skip
    found = read(rows)
    assert found[0] == ListEntry(
        number=1,
        title="Death Note",
        ids=(("myanimelist", "1535"),),
        status="completed",
        score=9,
        notes="so",
        episodes_watched=37,
        times_rewatched=2,
        absent=frozenset({"started_on", "completed_on", "tags"}),
    )
    second = found[1]
    assert isinstance(second, ListEntry)
    assert (second.title, second.status, second.is_rewatching) == ("Врата", "watching", True)
    assert reasons(found) == [
        (number, title, "It is a manga.") for number, title in enumerate(("Monster", "A", "B"), 3)
    ]


def test_rates_of_shikimoris_api_are_read() -> None:
    anime = {"id": 1535, "name": "Death Note"}
    rate = {
        "score": 8,
        "status": "planned",
        "episodes": 0,
        "rewatches": 0,
        "updated_at": "2020-09-13T12:26:40.000+00:00",
    }
    found = read([{**rate, "anime": anime, "manga": None}, {**rate, "anime": None, "manga": {"id": 1, "name": "M"}}])
    first = found[0]
    assert isinstance(first, ListEntry)
    assert (first.title, first.ids, first.status) == ("Death Note", (("myanimelist", "1535"),), "plan_to_watch")
    assert first.updated_at == datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
    assert reasons(found) == [(2, "M", "It is a manga.")]


STATE = {
    "status": "on_hold",
    "score": 7,
    "num_episodes_watched": 12,
    "is_rewatching": True,
    "num_times_rewatched": 1,
    "start_date": "2015-01",
    "finish_date": "2015",
    "comments": "so",
    "tags": ["a", "b"],
    "updated_at": "2020-09-13T12:26:40+00:00",
}


def test_pages_of_myanimelists_api_are_read() -> None:
    node = {"id": 5, "title": "Bebop", "start_season": {"year": 1998, "season": "spring"}}
    expected = ListEntry(
        number=1,
        title="Bebop",
        ids=(("myanimelist", "5"),),
        year=1998,
        status="on_hold",
        score=7,
        notes="so",
        episodes_watched=12,
        started_on="2015-01",
        completed_on="2015",
        times_rewatched=1,
        is_rewatching=True,
        tags="a, b",
        updated_at=datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC),
    )
    row = {"node": node, "list_status": STATE}
    assert entries({"data": [row], "paging": {}}) == [expected]
    assert entries({"data": [{"node": {**node, "my_list_status": STATE}}]}) == [expected]
    assert [each.number for each in entries([{"data": [row]}, {"data": [row, row]}])] == [1, 2, 3]


def test_manga_of_myanimelists_api_is_reported() -> None:
    rows = [
        {"node": {"id": 1, "title": "M", "media_type": "light_novel"}, "list_status": {"status": "completed"}},
        {"node": {"id": 2, "title": "N"}, "list_status": {"status": "reading", "num_chapters_read": 3}},
        {"node": {"id": 3, "title": "O"}, "list_status": {"status": "plan_to_read"}},
    ]
    assert reasons(read({"data": rows})) == [
        (1, "M", "It is a manga."),
        (2, "N", "It is a manga."),
        (3, "O", 'Its status "plan_to_read" is not known.'),
    ]


def library_entry(**more: Any) -> Json:
    attributes = {"status": "current", "progress": 3, "ratingTwenty": 18, "reconsuming": False, "reconsumeCount": 0}
    anime = {"data": {"type": "anime", "id": "265"}}
    return {
        "id": "1",
        "type": "libraryEntries",
        "attributes": {**attributes, **more},
        "relationships": {"user": {"links": {}}, "anime": anime, "manga": {"data": None}},
    }


def test_json_api_of_kitsu_io_is_read() -> None:
    more = {
        "notes": "so",
        "startedAt": "2015-01-02T00:00:00.000Z",
        "finishedAt": None,
        "updatedAt": "2020-09-13T12:26:40Z",
    }
    included: list[Json] = [
        {"id": "265", "type": "anime", "attributes": {"canonicalTitle": "Bebop", "startDate": "1998-04-03"},
         "relationships": {"mappings": {"data": [{"type": "mappings", "id": str(n)} for n in (7, 8, 9)]}}},
        {"id": "7", "type": "mappings", "attributes": {"externalSite": "myanimelist/anime", "externalId": "5"}},
        {"id": "8", "type": "mappings", "attributes": {"externalSite": "thetvdb/season", "externalId": "6"}},
        {"id": "9", "type": "mappings", "attributes": {"externalSite": "anilist/anime", "externalId": "4"}},
    ]  # fmt: skip
    page = {"data": [library_entry(**more)], "included": included, "links": {}}
    expected = ListEntry(
        number=1,
        title="Bebop",
        ids=(("kitsu", "265"), ("myanimelist", "5"), ("anilist", "4")),
        year=1998,
        status="watching",
        score=9.0,
        notes="so",
        episodes_watched=3,
        started_on="2015-01-02",
        updated_at=datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC),
        absent=frozenset({"tags"}),
    )
    assert entries(page) == [expected]
    assert len(entries([page, page])) == 2
    for mapping in included[1:]:
        mapping["relationships"] = {"item": {"data": {"type": "anime", "id": "265"}}}
    del included[0]["relationships"]
    assert entries(page) == [expected]


@pytest.mark.parametrize(
    ("attributes", "field", "value"),
    [
        ({"ratingTwenty": 20}, "score", 10.0),
        ({"ratingTwenty": 2}, "score", 1.0),
        ({"ratingTwenty": None}, "score", None),
        ({"reconsuming": True, "reconsumeCount": 2}, "is_rewatching", True),
        ({"reconsuming": True, "reconsumeCount": 2}, "times_rewatched", 2),
        ({"status": "planned"}, "status", "plan_to_watch"),
        ({"status": "completed", "progress": 0}, "all_episodes", True),
    ],
)
def test_attributes_of_kitsu_io_are_read(attributes: Json, field: str, value: object) -> None:
    [found] = entries({"data": [library_entry(**attributes)]})
    assert getattr(found, field) == value


def test_stars_of_kitsu_io_are_read() -> None:
    entry = library_entry(rating="4.5")
    del entry["attributes"]["ratingTwenty"]
    assert [each.score for each in entries({"data": [entry]})] == [9.0]


def test_entry_of_kitsu_io_without_anime_is_reported() -> None:
    manga, nothing = library_entry(), library_entry()
    manga["relationships"] = {"anime": {"data": None}, "manga": {"data": {"type": "manga", "id": "9"}}}
    nothing["relationships"] = {"anime": {"links": {"related": "x"}}}
    assert reasons(read({"data": [manga, nothing]})) == [
        (1, None, "It is a manga."),
        (2, None, "Nothing says which anime it is."),
    ]
    assert "not a list" in problem(json.dumps({"data": [{"id": "1", "type": "anime", "attributes": {}}]}).encode())


def test_backup_of_simkl_is_read() -> None:
    show = {"title": "Death Note", "year": 2006, "ids": {"simkl": 38010, "slug": "x", "mal": "1535", "anidb": "4563"}}
    times = {"added_to_watchlist_at": "2019-01-01T00:00:00Z", "last_watched_at": "2020-09-13T12:26:40Z"}
    row = {"status": "completed", "user_rating": 9, "watched_episodes_count": 0, "show": show, **times}
    found = read(
        {
            "shows": [{"status": "watching", "show": {"title": "A Series", "ids": {"mal": "1"}}}],
            "movies": [{"status": "completed", "movie": {"title": "A Film"}}],
            "anime": [row, {"status": "hold", "show": {"title": "T"}, "memo": {"text": "so"}, "user_rating": None}],
        }
    )
    assert found[0] == ListEntry(
        number=1,
        title="Death Note",
        ids=(("simkl", "38010"), ("myanimelist", "1535"), ("anidb", "4563")),
        year=2006,
        status="completed",
        score=9,
        all_episodes=True,
        updated_at=datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC),
        absent=ALL - {"status", "is_rewatching", "score", "episodes_watched"},
    )
    second = found[1]
    assert isinstance(second, ListEntry)
    assert (second.status, second.ids, second.title, second.notes) == ("on_hold", (), "T", "so")
    assert reasons(found) == [
        (3, "A Series", "It is one of the shows of Simkl, not an anime."),
        (4, "A Film", "It is one of the movies of Simkl, not an anime."),
    ]


def test_words_of_simkl_for_a_status_are_read() -> None:
    words = ["watching", "plantowatch", "hold", "completed", "dropped", "notinteresting"]
    rows = [{"status": word, "show": {"title": word}} for word in words]
    expected = ["watching", "plan_to_watch", "on_hold", "completed", "dropped", "dropped"]
    assert [each.status for each in entries({"anime": rows})] == expected


SHOW = {"title": "Cowboy Bebop", "year": 1998, "ids": {"trakt": 30, "slug": "x", "imdb": "tt0213338"}}
FILM = {"title": "Your Name.", "year": 2016, "ids": {"trakt": 9}}


def season(number: int, *plays: int) -> Json:
    return {"number": number, "episodes": [{"number": n, "plays": each} for n, each in enumerate(plays, start=1)]}


WATCHED: list[Json] = [
    {
        "plays": 6,
        "last_watched_at": "2020-09-13T12:26:40.000Z",
        "show": SHOW,
        "seasons": [season(0, 1), season(1, 2, 3)],
    },
    {"plays": 2, "last_watched_at": "2020-09-13T12:26:40.000Z", "movie": FILM},
]
RATINGS: list[Json] = [
    {"rated_at": "2021-01-01T00:00:00.000Z", "rating": 9, "type": "show", "show": SHOW},
    {"rated_at": "2020-01-01T00:00:00.000Z", "rating": 1, "type": "episode", "episode": {"number": 1}, "show": SHOW},
]
WATCHLIST: list[Json] = [
    {"listed_at": "2019-01-01T00:00:00.000Z", "type": "movie", "movie": FILM, "notes": None},
    {"listed_at": "2019-01-01T00:00:00.000Z", "type": "show", "show": {"title": "Later", "year": 2020}, "notes": "so"},
]


def test_lists_of_trakt_become_one_entry_for_each_medium() -> None:
    by_name = {"watched": WATCHED, "ratings": RATINGS, "watchlist": WATCHLIST}
    packed = archive(**{f"{name}__json": json.dumps(rows).encode() for name, rows in by_name.items()})
    for found in (read([*WATCHED, *RATINGS, *WATCHLIST]), read(by_name), read_list(packed)):
        show, film, later = (each for each in found if isinstance(each, ListEntry))
        assert (show.title, show.year, show.ids) == ("Cowboy Bebop", 1998, ())
        assert (show.status, show.score, show.episodes_watched, show.times_rewatched) == ("watching", 9, 2, 1)
        assert show.updated_at == datetime(2021, 1, 1, tzinfo=UTC)
        assert show.remarks == (
            "Its seasons 0 were left out: they are other anime in the catalogue.",
            "The rating of an episode of it was left out.",
        )
        assert (film.title, film.status, film.times_rewatched, film.score) == ("Your Name.", "completed", 1, None)
        assert "score" in film.absent
        assert (later.title, later.year, later.status, later.notes) == ("Later", 2020, "plan_to_watch", "so")


def test_history_of_trakt_counts_episodes() -> None:
    watched = {"watched_at": "2020-09-13T12:26:40.000Z", "action": "watch", "show": SHOW, "type": "episode"}
    rows = [{**watched, "episode": {"season": 1, "number": number}} for number in (1, 2, 2, 3)]
    [found] = entries(rows)
    assert (found.status, found.episodes_watched, found.times_rewatched) == ("watching", 3, 0)


def test_ended_show_of_trakt_with_all_episodes_is_completed() -> None:
    for status, expected in (("ended", "completed"), ("returning series", "watching")):
        row = {**WATCHED[0], "show": {**SHOW, "status": status, "aired_episodes": 2}}
        assert [each.status for each in entries([row])] == [expected]


def test_later_season_of_trakt_alone_is_reported() -> None:
    row = {**WATCHED[0], "seasons": [season(2, 1)]}
    [(number, title, reason)] = reasons(read([row]))
    assert (number, title) == (1, "Cowboy Bebop")
    assert "later seasons" in reason


def test_rating_of_trakt_alone_counts_as_completed_with_a_remark() -> None:
    [found] = entries(RATINGS[:1])
    assert (found.status, found.score) == ("completed", 9)
    assert found.remarks == ("The file has only its rating, so it counts as completed.",)


YAMTRACK = "media_id,source,media_type,title,score,status,notes,start_date,end_date,progress\n"


def test_csv_of_yamtrack_is_read() -> None:
    lines = [
        '"1535","mal","anime","Death Note","9.0","Completed","a\nb, c","2020-05-01 00:00:00+00:00","2020-06-01","37"',
        "x,manual,anime,Some Title,,In progress,,,,2",
        "550,tmdb,movie,Fight Club,9,Completed,,,,",
        "1,mal,manga,Monster,9,Completed,,,,",
        "2,mal,anime,No Status,9",
    ]
    found = read_list((YAMTRACK + "\n".join(lines)).encode())
    assert found[0] == ListEntry(
        number=1,
        title="Death Note",
        ids=(("myanimelist", "1535"),),
        status="completed",
        score=9.0,
        notes="a\nb, c",
        episodes_watched=37,
        started_on="2020-05-01",
        completed_on="2020-06-01",
        absent=frozenset({"times_rewatched", "tags"}),
    )
    second = found[1]
    assert isinstance(second, ListEntry)
    assert (second.ids, second.title, second.status, second.episodes_watched) == ((), "Some Title", "watching", 2)
    assert reasons(found) == [
        (3, "Fight Club", 'Its `media_type` is "movie", not anime.'),
        (4, "Monster", "It is a manga."),
        (5, "No Status", "It has no status."),
    ]


def test_rows_of_yamtrack_for_one_anime_become_one_entry() -> None:
    lines = [
        "5,mal,anime,Bebop,7,Completed,first,2019-01-01,2019-02-01,26",
        "6,mal,anime,Other,,Planning,,,,",
        "5,mal,anime,Bebop,8,Completed,,2020-01-01,2020-02-01,26",
        "5,mal,anime,Bebop,,In progress,,2021-01-01,,3",
    ]
    first, second = read_list((YAMTRACK + "\n".join(lines)).encode())
    assert isinstance(first, ListEntry)
    assert (first.number, first.status, first.is_rewatching, first.times_rewatched) == (1, "watching", True, 1)
    assert (first.score, first.notes, first.episodes_watched) == (8, "first", 3)
    assert (first.started_on, first.completed_on) == ("2019-01-01", "2020-02-01")
    assert first.remarks == ("The 3 rows of this anime became one entry.",)
    assert second.number == 2


OWN_ANIME = {"id": "019abc00-0000-7000-8000-000000000002", "title": "Death Note", "year": 2006, "score": 8.7}
OWN: Json = {
    "id": "019abc00-0000-7000-8000-000000000001",
    "anime_id": OWN_ANIME["id"],
    "status": "completed",
    "score": 8.5,
    "notes": "<br /> &amp; é ",
    "episodes_watched": 0,
    "started_on": "2020-05",
    "completed_on": "2020-06-01",
    "times_rewatched": 1,
    "is_rewatching": True,
    "tags": "night, rain",
    "version": 3,
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-09-13T12:26:40.000123Z",
    "anime": OWN_ANIME,
}
IDS = {"myanimelist": "1535", "anidb": "4563", "anime_planet": "death-note"}


@pytest.mark.parametrize(
    ("file", "has_ids"),
    [
        ({"exported_at": "2026-11-20T10:00:00Z", "entries": [{"entry": OWN, "external_ids": IDS}]}, True),
        ({"exported_at": "x", "user": {}, "favorites": [{"anime_id": "x"}], "library": [OWN], "views": []}, False),
        ({"exported_at": "x", "library": [{**OWN, "external_ids": IDS}]}, True),
        ({"exported_at": "x", "library": [{"entry": OWN, "external_ids": IDS}]}, True),
        ([OWN], False),
    ],
)
def test_own_export_is_read_without_loss(file: Any, has_ids: bool) -> None:
    assert entries(file) == [
        ListEntry(
            number=1,
            title="Death Note",
            ids=tuple(IDS.items()) if has_ids else (),
            anime_id=UUID(OWN["anime_id"]),
            year=2006,
            status="completed",
            score=8.5,
            notes="<br /> &amp; é ",
            episodes_watched=0,
            started_on="2020-05",
            completed_on="2020-06-01",
            times_rewatched=1,
            is_rewatching=True,
            tags="night, rain",
            updated_at=datetime(2020, 9, 13, 12, 26, 40, 123, tzinfo=UTC),
        )
    ]


def test_number_of_episodes_in_own_export_is_exact() -> None:
    [found] = entries([{**OWN, "is_rewatching": False}])
    assert (found.episodes_watched, found.all_episodes) == (0, False)


def test_own_export_without_entries_is_empty() -> None:
    assert read({"exported_at": "x", "entries": []}) == []
    assert read({"exported_at": "x", "user": {}, "library": [], "favorites": []}) == []


@pytest.mark.parametrize(
    "file",
    [
        [5, "x", None, {"target_id": 1}],
        [{"target_id": 1}, 5, "x", None, {"target_id": 2, "status": "completed", "score": [1], "text": {}}],
        {"data": [{"node": 5}, {"node": {"id": {}}, "list_status": [1]}]},
        {"data": [{"type": "libraryEntries"}, {"type": "libraryEntries", "attributes": 5, "relationships": [1]}, 7],
         "included": [None, {"type": "anime", "id": 1, "attributes": {"titles": [1]}, "relationships": 4}]},
        {"anime": [{"status": 5, "show": {"ids": [1]}}, {"status": "hold", "show": 4}, None]},
        [{"listed_at": 4, "show": {"title": [1], "ids": 4}}, {"rated_at": {}, "movie": FILM, "rating": "x"}, None,
         {"watched_at": [], "show": SHOW, "episode": {"season": "1", "number": None}, "seasons": {"a": 1}}],
        {"entries": [{"entry": 5}, {"entry": {"status": "completed", "anime_id": "x", "anime": 4}}, 4]},
        {"lists": [{"series_id": [1]}, {"series_id": 5, "status": True, "score": {}}, 4]},
    ],
)  # fmt: skip
def test_row_of_another_form_is_reported_or_read(file: Any) -> None:
    """Each row has an entry or a reason, whatever its values are."""
    try:
        found = read(file)
    except ListFileError:  # the first row decides about the format
        return
    assert found
    assert len({each.number for each in found}) == len(found)
    assert all(each.reason.endswith(".") for each in found if isinstance(each, NotImported))


DOCUMENTS: dict[str, Any] = {
    "anilist": {
        "data": {"a": {"lists": [{"status": "CURRENT", "entries": [{"mediaId": 1, "startedAt": {"year": 1}}]}]}}
    },
    "download": {"lists": [{"series_type": 0, "series_id": 5, "status": 2, "score": 85, "finished_on": 20150203}]},
    "shikimori": [{"target_title": "T", "target_type": "Anime", "target_id": 5, "status": "planned", "text": "x"}],
    "myanimelist": {"data": [{"node": {"id": 5, "title": "T"}, "list_status": STATE}]},
    "kitsu.io": {"data": [library_entry(notes="x")], "included": [{"id": "265", "type": "anime", "attributes": {}}]},
    "simkl": {"anime": [{"status": "hold", "show": {"title": "T", "ids": {"mal": 1}}, "memo": {"text": "x"}}]},
    "trakt": [*WATCHED, *RATINGS, *WATCHLIST],
    "own": {"entries": [{"entry": OWN, "external_ids": IDS}]},
}
ODD = [None, True, -1, 1.5, 10**400, "", "\0\ud800", "9" * 5000, "2020-02-31", [], [None], {}, {"year": -1}]
ODD += [float("nan"), float("inf")]


def paths(value: Any) -> Iterator[list[Any]]:
    """Yield the keys and indexes that lead to each part of a value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield [key]
        yield from ([key, *rest] for rest in paths(child))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_file_with_any_value_replaced_is_read_or_rejected(name: str) -> None:
    """No other exception is raised, and each entry fits the database."""
    for path, odd in product(paths(DOCUMENTS[name]), ODD):
        changed = copy.deepcopy(DOCUMENTS[name])
        parent = changed
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = odd
        try:
            found = read(changed)
        except ListFileError:
            continue
        assert b"\\u0000" not in msgspec.json.encode(found), (path, odd)
        for each in found:
            if isinstance(each, ListEntry):
                assert each.score is None or 1 <= each.score <= 10, (path, odd)
                assert 0 <= each.episodes_watched < 2**31, (path, odd)
                assert each.ids or each.title or each.anime_id, (path, odd)
