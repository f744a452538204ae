"""AniList's lists: both shapes, scores on either scale, anime in several lists, and invalid entries."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitsu.domain.viewer.list_import.entries import ListEntry, ListFileError, ListTooLarge, NotImported
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
    score=85,
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
    score=9,
    notes="good\nso",
    episodes_watched=12,
    started_on="2019-12-31",
    completed_on="2020-05",
    times_rewatched=2,
    updated_at=datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC),
)


@pytest.mark.parametrize(
    "file",
    [
        {"lists": [listed(FULL)]},
        {"user": {"name": "x"}, "lists": [listed(), {"name": "empty"}, listed(FULL), listed(status=None)]},
        {"data": {"MediaListCollection": {"lists": [listed(FULL)], "user": {}}}},
        {"animes": [listed(FULL)]},
    ],
)
def test_list_in_each_shape_is_read(file: Json) -> None:
    assert list(read_list(json.dumps(file).encode())) == [READ]


def test_list_of_the_front_end_is_read() -> None:
    media = [{"id": 1, "idMal": 11, "title": {"english": "One"}}, {"id": 2, "idMal": None, "title": {"english": None}}]
    file = {"animes": [{"name": "Planning", "status": "PLANNING", "entries": [{"media": each} for each in media]}]}
    assert list(read_list(json.dumps(file).encode())) == [
        ListEntry(number=1, title="One", ids=(("anilist", "1"), ("myanimelist", "11")), status="plan_to_watch"),
        ListEntry(number=2, title="", ids=(("anilist", "2"),), status="plan_to_watch"),
    ]


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
        ([7.5, 7.4, 0.1, 10.0], [8, 7, 1, 10]),
        ([100, 85, 84, 10, 7, 1, 0], [10, 9, 8, 1, 1, 1, None]),
        ([10.5, 5], [1, 1]),
        ([3, 5], [3, 5]),
    ],
)
def test_scores_on_either_scale_become_1_to_10(scores: list[float | None], expected: list[int | None]) -> None:
    found = entries(listed(*(item(number, score=score) for number, score in enumerate(scores, start=1))))
    assert [each.score for each in found] == expected


@pytest.mark.parametrize("score", ["-1", "101", "NaN", "Infinity", "1e400", "true", '"9"', "[9]", "9" * 5000])
def test_entry_with_invalid_score_is_rejected(score: str) -> None:
    """The invalid score also has no effect on the scale of the others."""
    rows = [json.dumps(item(number, score=8)) for number in (1, 2, 3)]
    rows[1] = rows[1].replace(": 8", f": {score}")
    found = list(read_list(f'{{"lists": [{{"status": "CURRENT", "entries": [{", ".join(rows)}]}}]}}'.encode()))
    assert [each.score if isinstance(each, ListEntry) else each.title for each in found] == [8, "Anime 2", 8]


def test_entry_without_media_id_is_rejected() -> None:
    media: list[Any] = [None, {}, {"id": 0, "idMal": None}, {"id": -1}, {"id": "1"}, {"id": 2**31}, [1]]
    wrong: list[Any] = [{}, None, 5, "text", [], True, *({"media": each} for each in media)]
    for raw in wrong:
        found = refusal(raw)
        assert (found.number, found.title) == (1, None), raw


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 1},
        {"status": "WATCHING"},
        {"status": "\ud800\0" + "x" * 1000},
        {"progress": -1},
        {"progress": 1.5},
        {"progress": "1"},
        {"progress": 2**31},
        {"progress": 10**400},
        {"repeat": True},
        {"notes": 5},
        {"notes": "x" * 10_001},
        {"startedAt": "2020-01-01"},
        {"startedAt": {"year": "2020"}},
        {"updatedAt": "now"},
        {"media": medium(type="MANGA")},
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
    [found] = entries(listed(item(), **custom), listed(item(score="x")), listed(item()), listed(item(), **custom))
    assert (found.number, found.status) == (3, "watching")
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


def test_impossible_dates_are_left_out() -> None:
    found = entry(item(startedAt={"year": 2020, "month": 2, "day": 31}, completedAt={"year": None, "month": 2}))
    assert (found.started_on, found.completed_on, found.updated_at) == (None, None, None)
    assert entry(item(updatedAt=10**17)).updated_at is None


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"{", "cut short"),
        (json.dumps({"lists": [listed(FULL)]}).encode()[:-20], "cut short"),
        (b'{"lists": []} x', "no JSON"),
        (b"{}", "not a list of AniList"),
        (b'{"lists": null, "data": null}', "not a list of AniList"),
        (b'{"data": {"MediaListCollection": null}}', "not a list of AniList"),
        (b'{"data": [1]}', "not a list of AniList"),
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
