"""The XML that MyAnimeList imports: its elements, and that Kitsu reads back what it wrote."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitsu.domain.catalogue.anime import AnimeType
from kitsu.domain.viewer.list_export import myanimelist
from kitsu.domain.viewer.list_import.entries import LibraryFields, ListEntry
from kitsu.domain.viewer.list_import.files import read_list
from tests.conftest import SHARED_DATA


class Exported(NamedTuple):
    """An entry, and what the file has of its anime."""

    entry: ListEntry
    kind: AnimeType
    episode_count: int | None


NOTE = (
    "<!-- Written by Kitsu for MyAnimeList. Left out: decimals of scores, times of changes, and entries without an id "
    "of MyAnimeList (0), which comments name. -->"
)


def exported(myanimelist_id: str, title: str, kind: AnimeType, episodes: int | None = None, **fields: Any) -> Exported:
    return Exported(ListEntry(number=0, title=title, ids=(("myanimelist", myanimelist_id),), **fields), kind, episodes)


def written(entries: list[Exported], user_name: str, left_out: Sequence[ListEntry] = ()) -> bytes:
    """Return the whole file."""
    totals = Counter(each.entry.status for each in entries)
    pieces = [myanimelist.element(*each) for each in entries] + [myanimelist.left_out(each) for each in left_out]
    return b"".join([myanimelist.head(user_name, totals, len(left_out)), *pieces, myanimelist.TAIL])


def test_export_writes_elements_of_myanimelist() -> None:
    entries = [
        exported("5", "]]> & <b>", "MOVIE", status="plan_to_watch", started_on="2020-05", completed_on="2021"),
        *(exported("6", "", kind, 12, status="watching") for kind in ("TV", "OVA", "ONA", "SPECIAL", "UNKNOWN")),
    ]
    xml = written(entries, "<me> & \0you").decode()
    head, *anime = xml.split("\t<anime>\n")
    assert head.replace("\t", "").splitlines() == [
        '<?xml version="1.0" encoding="UTF-8" ?>',
        NOTE,
        "<myanimelist>",
        "<myinfo>",
        "<user_id></user_id>",
        "<user_name>&lt;me&gt; &amp; you</user_name>",
        "<user_export_type>1</user_export_type>",
        "<user_total_anime>6</user_total_anime>",
        "<user_total_watching>5</user_total_watching>",
        "<user_total_completed>0</user_total_completed>",
        "<user_total_onhold>0</user_total_onhold>",
        "<user_total_dropped>0</user_total_dropped>",
        "<user_total_plantowatch>1</user_total_plantowatch>",
        "</myinfo>",
    ]
    assert anime[0].replace("\t", "").splitlines() == [
        "<series_animedb_id>5</series_animedb_id>",
        "<series_title><![CDATA[]]]]><![CDATA[> & <b>]]></series_title>",
        "<series_type>Movie</series_type>",
        "<series_episodes>0</series_episodes>",
        "<my_id></my_id>",
        "<my_watched_episodes>0</my_watched_episodes>",
        "<my_start_date>2020-05-00</my_start_date>",
        "<my_finish_date>2021-00-00</my_finish_date>",
        "<my_rated></my_rated>",
        "<my_score>0</my_score>",
        "<my_storage></my_storage>",
        "<my_storage_value>0.00</my_storage_value>",
        "<my_status>Plan to Watch</my_status>",
        "<my_comments><![CDATA[]]></my_comments>",
        "<my_times_watched>0</my_times_watched>",
        "<my_rewatch_value></my_rewatch_value>",
        "<my_priority>LOW</my_priority>",
        "<my_tags><![CDATA[]]></my_tags>",
        "<my_rewatching>0</my_rewatching>",
        "<my_rewatching_ep>0</my_rewatching_ep>",
        "<my_discuss>1</my_discuss>",
        "<my_sns>default</my_sns>",
        "<update_on_import>1</update_on_import>",
        "</anime>",
    ]
    kinds = [each.split("<series_type>")[1].split("<")[0] for each in anime]
    assert kinds == ["Movie", "TV", "OVA", "ONA", "Special", "Unknown"]
    assert xml.endswith("</myanimelist>\n")


INVALID_CHARACTERS = [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0xFFFE, 0xFFFF]
# The markup of XML, more often than random text has it.
TEXT = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="".join(map(chr, INVALID_CHARACTERS))), max_size=5)
    | st.sampled_from(
        [
            "]]>",
            "<![CDATA[",
            "&",
            "&amp;",
            "&#13;",
            "\r\n",
            "\r",
            "\n",
            " ",
            "<!--",
            "-->",
            "<",
            "]",
            "<br />",
            "&eacute;",
            "&lt;br>",
        ]
    )
).map("".join)
NUMBER = st.integers(0, 2**31 - 1)
DATE = st.none() | st.dates().map(str).flatmap(lambda day: st.sampled_from([day, day[:7], day[:4]]))
EXPORTED = st.builds(
    exported,
    myanimelist_id=st.integers(1, 2**31 - 1).map(str),
    title=TEXT,
    kind=st.sampled_from(["TV", "MOVIE", "OVA", "ONA", "SPECIAL", "UNKNOWN"]),
    episodes=st.none() | NUMBER,
    status=st.sampled_from(["watching", "completed", "on_hold", "dropped", "plan_to_watch"]),
    score=st.none() | st.integers(1, 10),
    notes=TEXT.map(lambda text: text or None),
    episodes_watched=NUMBER,
    started_on=DATE,
    completed_on=DATE,
    times_rewatched=NUMBER,
    is_rewatching=st.booleans(),
    tags=TEXT.map(lambda text: text or None),
)


def fields_of(entry: ListEntry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in LibraryFields.__struct_fields__}


def read_again(entries: list[Exported], user_name: str = "me") -> list[ListEntry]:
    read = read_list(written(entries, user_name))
    assert all(isinstance(each, ListEntry) for each in read), read
    return [each for each in read if isinstance(each, ListEntry)]


@given(st.lists(EXPORTED, max_size=3), TEXT)
@settings(max_examples=80, deadline=None)
def test_import_of_export_reads_the_same_entries(entries: list[Exported], user_name: str) -> None:
    read = read_again(entries, user_name)
    expected = [
        {**fields_of(each.entry), **({"status": "completed"} if each.entry.is_rewatching else {})} for each in entries
    ]
    assert [fields_of(each) for each in read] == expected
    assert [(each.ids, each.title) for each in read] == [
        (each.entry.ids, each.entry.title[:1000].strip()) for each in entries
    ]


def test_export_names_what_it_leaves_out() -> None:
    entry = exported("1", "Kept", "TV", status="watching", score=8.5)
    unknown = ListEntry(number=0, title="A --> B -- C---", status="completed")
    xml = written([entry], "me", [unknown]).decode()
    assert "MyAnimeList (1)" in xml
    assert "<!-- Left out, without an id of MyAnimeList: A - -> B - - C- - - -->" in xml
    assert "<my_score>9</my_score>" in xml
    assert [each.title for each in read_again([entry])] == ["Kept"]
    assert [each.title for each in read_list(xml.encode())] == ["Kept"]


def test_export_of_rewatch_is_completed_with_mark() -> None:
    xml = written([exported("1", "Again", "TV", 12, status="watching", is_rewatching=True)], "me").decode()
    assert "<my_status>Completed</my_status>" in xml
    assert "<my_rewatching>1</my_rewatching>" in xml


def test_export_leaves_out_characters_that_xml_can_not_hold() -> None:
    text = "a" + "".join(map(chr, INVALID_CHARACTERS)) + "\ud800b\udfff"
    [read] = read_again([exported("1", text, "TV", status="dropped", notes=text, tags=text)], text)
    assert (read.title, read.notes, read.tags) == ("ab", "ab", "ab")


def test_import_of_large_export_reads_the_same_titles() -> None:
    """Use the titles of the real catalogue, in a file of many blocks."""
    path = SHARED_DATA / "catalogue.jsonl"
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    with path.open() as lines:
        anime = [json.loads(line) for line in islice(lines, 1, 3001)]
    entries = [
        exported(str(number), each["title"], each["type"], each["episodes"], status="completed")
        for number, each in enumerate(anime, start=1)
    ]
    assert [each.title for each in read_list(written(entries, "me"))] == [each["title"] for each in anime]
