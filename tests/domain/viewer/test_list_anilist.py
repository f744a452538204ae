"""AniList's lists: both shapes, scores on either scale, anime in several lists, and invalid entries."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitsu.domain.viewer.list_import.entries import LibraryFields, ListEntry, ListFileError, ListTooLarge, NotImported
from kitsu.domain.viewer.list_import.files import read_list
from tests.domain.viewer.test_list_files import problem

Json = dict[str, Any]


def medium(number: int = 1, **more: Any) -> Json:
    return {"id": number, "idMal": number + 100, "title": {"english": f"Anime {number}"}, **more}


def item(number: int = 1, **more: Any) -> Json:
    return {"media": medium(number), **more}


def listed(*entries: Any, status: Any = "CURRENT", **more: Any) -> Json:
    return {"name": "A list", "status": status, "isCustomList": False, "entries": list(entries), **more}


def read(*lists: Any) -> list[ListEntry | NotImported]:
    return list(read_list(json.dumps({"lists": lists}).encode()))


def entries(*lists: Any) -> list[ListEntry]:
    found = read(*lists)
    assert [each for each in found if isinstance(each, NotImported)] == []
    return [each for each in found if isinstance(each, ListEntry)]


def entry(raw: Json) -> ListEntry:
    [found] = entries(listed(raw))
    return found


def refusal(raw: Any, **more: Any) -> NotImported:
    [found] = read(listed(raw, **more))
    assert isinstance(found, NotImported), found
    assert found.reason.endswith(".")
    return found


FULL = item(
    5,
    id=77,
    status="COMPLETED",
    score=90,
    progress=12,
    repeat=2,
    notes="good\nso",
    private=False,
    startedAt={"year": 2019, "month": 12, "day": 31},
    completedAt={"year": 2020, "month": 5, "day": None},
    updatedAt=1_600_000_000,
    customLists={"Deep": [[None]]},
)
READ = ListEntry(
    number=1,
    title="Anime 5",
    ids=(("anilist", "5"), ("myanimelist", "105")),
    status="completed",
    score=9.0,
    notes="good\nso",
    episodes_watched=12,
    started_on="2019-12-31",
    completed_on="2020-05",
    times_rewatched=2,
    updated_at=datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC),
    absent=frozenset({"tags"}),
)


@pytest.mark.parametrize(
    "file",
    [
        {"lists": [listed(FULL)]},
        {"user": {"name": "x"}, "lists": [listed(), {"name": "empty"}, listed(FULL), listed(status=None)]},
        {"data": {"MediaListCollection": {"lists": [listed(FULL)], "user": {}}}},
        {"animes": [listed(FULL)]},
        {"data": {"anime": {"lists": [listed(FULL)]}}},
        {"data": {"first": {"lists": []}, "second": {"lists": [listed(FULL)]}}},
        {"data": {"Page": {"pageInfo": {"total": 1}, "mediaList": [FULL]}}},
        {"data": {"p1": {"mediaList": []}, "p2": {"mediaList": [FULL]}}},
        {"Page": {"mediaList": [FULL]}},
        [{"data": {"Page": {"mediaList": [FULL]}}}, {"data": {"Page": {"mediaList": []}}}],
        {"MediaListCollection": {"lists": [listed(FULL)]}, "User": {"name": "x"}, "version": "1.02", "type": "ANIME"},
    ],
)
def test_list_in_each_shape_is_read(file: Any) -> None:
    assert list(read_list(json.dumps(file).encode())) == [READ]


def test_list_of_the_front_end_is_read() -> None:
    media = [{"id": 1, "idMal": 11, "title": {"english": "One"}}, {"id": 2, "idMal": None, "title": {"english": None}}]
    file = {"animes": [{"name": "Planning", "status": "PLANNING", "entries": [{"media": each} for each in media]}]}
    first, second = read_list(json.dumps(file).encode())
    assert isinstance(first, ListEntry)
    assert isinstance(second, ListEntry)
    assert (first.title, first.ids) == ("One", (("anilist", "1"), ("myanimelist", "11")))
    assert (second.title, second.ids) == ("", (("anilist", "2"),))
    assert first.status == second.status == "plan_to_watch"
    assert first.absent == second.absent == frozenset(LibraryFields.__struct_fields__) - {"status", "is_rewatching"}


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("CURRENT", "watching"),
        ("REPEATING", "watching"),
        ("PLANNING", "plan_to_watch"),
        ("COMPLETED", "completed"),
        ("DROPPED", "dropped"),
        ("PAUSED", "on_hold"),
        ("paused", "on_hold"),
    ],
)
def test_status_of_list_or_entry_is_read(word: str, status: str) -> None:
    [of_list] = entries(listed(item(), status=word))
    [of_entry] = entries(listed(item(status=word), status="DROPPED"))
    [in_custom] = entries(listed(item(status=word), status=None, isCustomList=True))
    assert of_list == of_entry == in_custom
    assert (of_list.status, of_list.is_rewatching) == (status, word == "REPEATING")


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0, None, 1, 5, 10], [None, None, 1, 5, 10]),
        ([7.5, 7.44, 0.1, 10.0], [8, 7, 1, 10]),
        ([100, 85, 84, 10, 7, 1, 0], [10, 9, 8, 1, 1, 1, None]),
        ([10.5, 5], [1, 1]),
        ([3, 5], [3, 5]),
    ],
)
def test_scores_on_either_scale_become_1_to_10(scores: list[float | None], expected: list[float | None]) -> None:
    found = entries(listed(*(item(number, score=score) for number, score in enumerate(scores, start=1))))
    assert [each.score for each in found] == expected


@pytest.mark.parametrize("score", ["-1", "101", "NaN", "Infinity", "1e400", "true", '"x"', "[9]", "9" * 5000, "9" * 30])
def test_invalid_score_is_left_out_with_a_remark(score: str) -> None:
    """It also has no effect on the scale of the others."""
    rows = [json.dumps(item(number, score=8)) for number in (1, 2, 3)]
    rows[1] = rows[1].replace(": 8", f": {score}")
    found = list(read_list(f'{{"lists": [{{"status": "CURRENT", "entries": [{", ".join(rows)}]}}]}}'.encode()))
    assert [each.score for each in found if isinstance(each, ListEntry)] == [8, None, 8]
    assert [len(each.remarks) for each in found if isinstance(each, ListEntry)] == [0, 1, 0]
    assert "score" in getattr(found[1], "absent", ())


def test_entry_without_media_id_is_rejected() -> None:
    media: list[Any] = [None, {}, {"id": 0, "idMal": None}, {"id": -1}, {"id": "x"}, {"id": True}, {"id": 2**31}, [1]]
    wrong: list[Any] = [{}, None, 5, "text", [], True, *({"media": each} for each in media)]
    for raw in wrong:
        found = refusal(raw)
        assert (found.number, found.title) == (1, None), raw


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 1},
        {"status": "READING"},
        {"status": "\ud800\0" + "x" * 1000},
        {"notes": "x" * 10_001},
        {"media": medium(type="MANGA")},
        {"media": medium(type="manga", format="TV")},
        {"media": medium(format="MANGA")},
        {"media": medium(format="ONE_SHOT")},
        {"media": medium(chapters=162)},
        {"media": medium(30_101, idMal=101, title={"english": "Anime 1"})},
        {"progressVolumes": 3},
    ],
)
def test_entry_with_invalid_field_is_rejected(wrong: Json) -> None:
    found = refusal(item(**wrong))
    assert (found.number, found.title) == (1, "Anime 1")
    assert len(found.reason) < 200
    found.reason.encode()
    assert len(read(listed(item(1), item(2, **{**wrong, "media": medium(2, type="MANGA")}), item(3)))) == 3


def test_entry_without_status_is_rejected() -> None:
    for status in (None, ""):
        assert "no status" in refusal(item(), status=status, isCustomList=True).reason


def test_anime_in_several_lists_is_read_once() -> None:
    own = item(status="DROPPED", progress=3)
    plain, fuller = item(progress=3), item(progress=3, notes="so", repeat=1)
    custom = {"status": None, "isCustomList": True}
    [found] = entries(listed(plain, status="COMPLETED"), listed(fuller, **custom), listed(own, **custom))
    assert (found.number, found.status, found.notes) == (3, "dropped", None)
    [found] = entries(listed(plain, fuller, plain, status="COMPLETED"))
    assert (found.number, found.status, found.notes) == (2, "completed", "so")
    [found] = entries(listed(item(), **custom), listed(item()), listed(item(), **custom))
    assert (found.number, found.status) == (2, "watching")
    [refused] = read(listed(item(), **custom), listed(item(), **custom))
    assert isinstance(refused, NotImported)
    assert refused.number == 1


def test_entries_keep_the_order_of_the_file() -> None:
    found = entries(listed(item(3), item(1)), listed(item(2), item(3, notes="x")))
    assert [each.ids[0][1] for each in found] == ["3", "1", "2"]


def test_media_with_one_id_is_read() -> None:
    found = entries(listed({"media": {"idMal": 7}}, {"media": {"id": 7}}, {"media": {"id": 8, "idMal": 0}}))
    assert [each.ids for each in found] == [(("myanimelist", "7"),), (("anilist", "7"),), (("anilist", "8"),)]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ({"english": "E", "romaji": "R", "native": "N", "userPreferred": "U"}, "E"),
        ({"english": None, "romaji": "R", "native": "N"}, "R"),
        ({"english": " ", "romaji": "\0", "native": "ネ"}, "ネ"),
        ({"userPreferred": "U"}, "U"),
        ({}, ""),
        (None, ""),
    ],
)
def test_first_title_with_text_is_used(title: Json | None, expected: str) -> None:
    assert entry({"media": {"id": 1, "title": title}}).title == expected


def test_characters_that_a_database_can_not_hold_are_removed() -> None:
    raw = r'{"notes": "a\u0000b\ud83dc\ud83d\ude00", "media": {"id": 1}}'
    [found] = read_list(f'{{"lists": [{{"status": "CURRENT", "entries": [{raw}]}}]}}'.encode())
    assert isinstance(found, ListEntry)
    assert found.notes == "abc😀"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"progress": -1}, "episodes_watched"),
        ({"progress": "many"}, "episodes_watched"),
        ({"progress": 2**31}, "episodes_watched"),
        ({"progress": 10**400}, "episodes_watched"),
        ({"repeat": True}, "times_rewatched"),
        ({"repeat": [1]}, "times_rewatched"),
        ({"notes": 5}, "notes"),
        ({"startedAt": "soon"}, "started_on"),
        ({"startedAt": {"year": "2020"}}, "started_on"),
    ],
)
def test_optional_field_that_can_not_be_read_is_left_out_with_a_remark(wrong: Json, field: str) -> None:
    found = entry(item(**wrong))
    assert field in found.absent
    [remark] = found.remarks
    assert remark.endswith("it was left out.")
    assert len(remark) < 200


@pytest.mark.parametrize(
    ("score_format", "scores", "expected"),
    [
        ("POINT_100", [9, 85, 84, 100, 3], [1.0, 9.0, 8.0, 10.0, 1.0]),
        ("POINT_10_DECIMAL", [8.5, 10, 0.5], [9.0, 10.0, 1.0]),
        ("POINT_10", [8, 1], [8.0, 1.0]),
        ("POINT_5", [1, 2, 3, 4, 5, 0], [1.0, 3.0, 5.0, 7.0, 9.0, None]),
        ("POINT_3", [1, 2, 3, None], [4.0, 6.0, 9.0, None]),
        ("POINT_5", [70, 35], [7.0, 4.0]),
        ("POINT_10", [70, 9], [7.0, 1.0]),
        ("POINT_NEW", [8], [8.0]),
    ],
)
def test_scale_of_the_file_is_used(score_format: str, scores: list[Any], expected: list[float | None]) -> None:
    """A query can ask for scores of 100 points, whatever the user's scale is."""
    user = {"mediaListOptions": {"scoreFormat": score_format}}
    rows = [item(number, score=score) for number, score in enumerate(scores, start=1)]
    for file in (
        {"data": {"MediaListCollection": {"lists": [listed(*rows)], "user": user}}},
        {"data": {"Viewer": user, "alias": {"lists": [listed(*rows)]}}},
        {"MediaListCollection": {"lists": [listed(*rows)]}, "User": user},
        {"data": {"Page": {"mediaList": [{**row, "status": "CURRENT", "user": user} for row in rows]}}},
    ):
        found = read_list(json.dumps(file).encode())
        assert [each.score for each in found if isinstance(each, ListEntry)] == expected


def test_score_of_automail_has_100_points() -> None:
    assert entry(item(scoreRaw=9)).score == 1.0
    assert entry(item(scoreRaw=80, score=4)).score == 8.0
    assert entry(item(scoreRaw=0, score=4)).score == 4.0


def test_collection_of_manga_is_reported() -> None:
    raw = {"mediaId": 30001, "status": "COMPLETED"}
    for file in (
        {"data": {"manga": {"lists": [listed(raw)]}}},
        {"MediaListCollection": {"lists": [listed(raw)]}, "type": "MANGA"},
        {"data": {"mangaList": {"mediaList": [raw]}}},
    ):
        assert read_list(json.dumps(file).encode()) == [NotImported(1, None, "It is a manga.", None)]


def test_media_id_alone_is_an_id_of_anilist() -> None:
    assert entry({"mediaId": 7}).ids == (("anilist", "7"),)
    assert entry({"mediaId": 7, "media": {"idMal": 8}}).ids == (("anilist", "7"), ("myanimelist", "8"))


def test_impossible_date_keeps_what_is_certain_with_a_remark() -> None:
    found = entry(item(startedAt={"year": 2020, "month": 2, "day": 31}, completedAt={"year": None, "month": 2}))
    assert (found.started_on, found.completed_on, found.updated_at) == ("2020-02", None, None)
    assert found.remarks == (
        'Its `startedAt` "2020-2-31" is not a date; 2020-02 was kept.',
        'Its `completedAt` "None-2" is not a date; it was left out.',
    )
    assert [entry(item(updatedAt=wrong)).updated_at for wrong in (10**17, "now", None)] == [None] * 3


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"{", "cut short"),
        (json.dumps({"lists": [listed(FULL)]}).encode()[:-20], "cut short"),
        (b'{"lists": []} x', "no JSON"),
        (b"{}", "not a list of MyAnimeList, AniList"),
        (b'{"data": {"MediaListCollection": null}}', "not a list of MyAnimeList, AniList"),
        (b'{"data": [1]}', "not a list of MyAnimeList, AniList"),
        (b'{"errors": [{"message": "Private"}], "data": null}', "not a list of MyAnimeList, AniList"),
        (json.dumps([{"x": 1}] * 3000).encode(), "not a list of MyAnimeList, AniList"),
        (b'{"lists": {}}', "not of the form"),
        (b'{"lists": [5]}', "not of the form"),
        (b'{"lists": [{"entries": {}}]}', "not of the form"),
        (b'{"lists": ' + b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
    ],
)
def test_json_that_is_no_list_is_rejected(file: bytes, message: str) -> None:
    assert message in problem(file)


def test_empty_list_has_no_entries() -> None:
    assert read() == []
    assert read(listed()) == []


@pytest.mark.parametrize(
    "file", [b'{"lists":[' + b"{}," * 600_000, json.dumps({"lists": [listed(*[0] * 100_001)]}).encode()]
)
def test_json_above_the_limits_is_rejected(file: bytes) -> None:
    with pytest.raises(ListTooLarge):
        read_list(file)


ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FULL, "lists", "title"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*FULL]), ANY))
@settings(max_examples=60, deadline=None)
def test_random_entry_is_read_or_rejected(odd: Json) -> None:
    """The other entries are read, and no text has characters that UTF-8 or a database can't hold."""
    found = read(listed(item(1), {**item(2), **odd}, item(3)))
    assert {each.number for each in found} >= {1, 3} or len(found) == 2
    assert b"\\u0000" not in msgspec.json.encode([msgspec.to_builtins(each) for each in found])


@given(ANY)
@settings(max_examples=60, deadline=None)
def test_random_json_is_read_or_rejected(value: Any) -> None:
    try:
        found = list(read_list(json.dumps({"lists": value}).encode()))
    except ListFileError:
        return
    assert all(each.number for each in found)
