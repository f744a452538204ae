"""The XML that MyAnimeList takes back: its elements, and that it is read again as it was."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitsu.domain.viewer.list_import.entries import ExportEntry, LibraryFields, ListEntry, Refusal
from kitsu.domain.viewer.list_import.files import read_list
from kitsu.domain.viewer.list_import.myanimelist import EXPORT_TAIL, export_entry, export_head
from tests.conftest import SHARED_DATA


def written(entries: list[ExportEntry], user_name: str) -> bytes:
    """Return the whole file."""
    totals = Counter(each.status for each in entries)
    return b"".join([export_head(user_name, totals), *map(export_entry, entries), EXPORT_TAIL])


def test_written() -> None:
    entries = [
        ExportEntry(
            myanimelist_id="5",
            title="]]> & <b>",
            type="MOVIE",
            status="plan_to_watch",
            started_on="2020-05",
            completed_on="2021",
        ),
        *(
            ExportEntry(myanimelist_id="6", title="", type=kind, episodes=12, status="watching")
            for kind in ("TV", "OVA", "ONA", "SPECIAL", "UNKNOWN")
        ),
    ]
    xml = written(entries, "<me> & \0you").decode()
    head, *anime = xml.split("\t<anime>\n")
    assert head.replace("\t", "").splitlines() == [
        '<?xml version="1.0" encoding="UTF-8" ?>',
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


UNHOLDABLE = [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0xFFFE, 0xFFFF]
# The signs of XML more often than chance has them.
TEXT = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="".join(map(chr, UNHOLDABLE))), max_size=5)
    | st.sampled_from(["]]>", "<![CDATA[", "&", "&amp;", "&#13;", "\r\n", "\r", "\n", " ", "<!--", "-->", "<", "]"])
).map("".join)
NUMBER = st.integers(0, 2**31 - 1)
DATE = st.none() | st.dates().map(str).flatmap(lambda day: st.sampled_from([day, day[:7], day[:4]]))
EXPORTED = st.builds(
    ExportEntry,
    myanimelist_id=st.integers(1, 2**31 - 1).map(str),
    title=TEXT,
    type=st.sampled_from(["TV", "MOVIE", "OVA", "ONA", "SPECIAL", "UNKNOWN"]),
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


def fields(entry: LibraryFields) -> dict[str, object]:
    return {name: getattr(entry, name) for name in LibraryFields.__struct_fields__}


def read_again(entries: list[ExportEntry], user_name: str = "me") -> list[ListEntry]:
    read = list(read_list(written(entries, user_name)))
    assert [each for each in read if isinstance(each, Refusal)] == []
    return [each for each in read if isinstance(each, ListEntry)]


@given(st.lists(EXPORTED, max_size=3), TEXT)
@settings(max_examples=80, deadline=None)
def test_what_is_written_is_read_as_it_was(entries: list[ExportEntry], user_name: str) -> None:
    read = read_again(entries, user_name)
    assert [fields(each) for each in read] == [fields(each) for each in entries]
    assert [(each.ids, each.title) for each in read] == [
        ((("myanimelist", each.myanimelist_id),), each.title) for each in entries
    ]


def test_what_xml_can_not_hold_is_left_out() -> None:
    text = "a" + "".join(map(chr, UNHOLDABLE)) + "\ud800b\udfff"
    export = ExportEntry(myanimelist_id="1", title=text, type="TV", status="dropped", notes=text, tags=text)
    [read] = read_again([export], text)
    assert (read.title, read.notes, read.tags) == ("ab", "ab", "ab")


def test_the_whole_catalogue() -> None:
    """Titles as they are, and that a file of many blocks is written and read without a seam."""
    entries = []
    path = SHARED_DATA / "catalogue.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with path.open() as lines:
        next(lines)
        for number, line in enumerate(lines, start=1):
            anime = json.loads(line)
            fields = {"title": anime["title"], "type": anime["type"], "episodes": anime["episodes"]}
            entries.append(ExportEntry(myanimelist_id=str(number), status="completed", **fields))
            if number == 3000:
                break
    assert [each.title for each in read_list(written(entries, "me"))] == [each.title for each in entries]
