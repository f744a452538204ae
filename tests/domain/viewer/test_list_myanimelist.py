"""MyAnimeList's export: valid, untidy and invalid files."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitsu.domain.viewer.list_import.entries import LibraryFields, ListEntry, ListFileError, ListTooLarge, NotImported
from kitsu.domain.viewer.list_import.files import read_list
from tests.domain.viewer.test_list_files import problem

FULL = """<?xml version="1.0" encoding="UTF-8" ?>
<!-- Created by XML Export feature at MyAnimeList.net, with <![CDATA[ & what not -->
<myanimelist>
    <myinfo>
        <user_id>1</user_id>
        <user_name>viewer</user_name>
        <user_export_type>1</user_export_type>
    </myinfo>
    <anime>
        <series_animedb_id>1535</series_animedb_id>
        <series_title><![CDATA[Death Note]]></series_title>
        <series_type>TV</series_type>
        <series_episodes>37</series_episodes>
        <my_id>0</my_id>
        <my_watched_episodes>30</my_watched_episodes>
        <my_start_date>2019-12-31</my_start_date>
        <my_finish_date>2020-05-00</my_finish_date>
        <my_score>9</my_score>
        <my_status>On-Hold</my_status>
        <my_comments><![CDATA[ Light & <b>L</b> ]]></my_comments>
        <my_times_watched>2</my_times_watched>
        <my_tags><![CDATA[mystery, police]]></my_tags>
        <my_rewatching>1</my_rewatching>
        <my_last_updated>1600000000</my_last_updated>
        <update_on_import>0</update_on_import>
    </anime>
</myanimelist>
"""
MINIMAL = {"series_animedb_id": "1", "series_title": "Bebop", "my_status": "Watching"}


def rows(*elements: str) -> list[ListEntry | NotImported]:
    inside = "".join(f"<anime>{each}</anime>" for each in elements)
    return list(read_list(f"<myanimelist>{inside}</myanimelist>".encode()))


def row(**fields: str) -> ListEntry | NotImported:
    [read] = rows("".join(f"<{name}>{text}</{name}>" for name, text in {**MINIMAL, **fields}.items()))
    return read


def entry(**fields: str) -> ListEntry:
    read = row(**fields)
    assert isinstance(read, ListEntry), read
    return read


def refusal(**fields: str) -> str:
    read = row(**fields)
    assert isinstance(read, NotImported), read
    assert (read.number, read.title) == (1, "Bebop")
    assert read.reason.endswith(".")
    return read.reason


def title_of(raw: bytes) -> str | None:
    xml = b"<series_animedb_id>1</series_animedb_id><my_status>1</my_status><series_title>%b</series_title>" % raw
    [read] = read_list(b"<myanimelist><anime>%b</anime></myanimelist>" % xml)
    assert isinstance(read, ListEntry)
    return read.title


def test_full_row_is_read() -> None:
    assert list(read_list(FULL.encode())) == [
        ListEntry(
            number=1,
            title="Death Note",
            ids=(("myanimelist", "1535"),),
            status="on_hold",
            score=9,
            notes=" Light & <b>L</b> ",
            episodes_watched=30,
            started_on="2019-12-31",
            completed_on="2020-05",
            times_rewatched=2,
            is_rewatching=True,
            tags="mystery, police",
            updated_at=datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC),
            absent=frozenset(),
        )
    ]


def test_minimal_row_is_read() -> None:
    assert rows(
        "<my_status>6</my_status><series_animedb_id>\n 0005 </series_animedb_id><unknown><deep/></unknown>"
    ) == [
        ListEntry(
            number=1,
            title="",
            ids=(("myanimelist", "5"),),
            status="plan_to_watch",
            absent=frozenset(LibraryFields.__struct_fields__) - {"status", "is_rewatching"},
        )
    ]
    assert list(read_list(b"<myanimelist/>")) == []


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("Watching|1| watching |Currently Watching|Current|Rewatching|In progress", "watching"),
        ("Completed|COMPLETED|2|Finished", "completed"),
        ("On-Hold|On Hold|onhold|on_hold|3|Paused|Hold", "on_hold"),
        ("Dropped|4", "dropped"),
        ("Plan to Watch|plantowatch|PLAN TO WATCH|6|\n6\n|<![CDATA[Plan to Watch]]>|Planned|Planning", "plan_to_watch"),
    ],
)
def test_status_in_any_spelling_is_read(words: str, status: str) -> None:
    assert {entry(my_status=word).status for word in words.split("|")} == {status}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("series_animedb_id", "|0|-1|x|2147483648|\uff11"),
        ("my_status", "| |5|0|7|Reading|Plan to Read|" + "x" * 5000),
        ("my_comments", "x" * 10_001 + "|" + "日" * 100_000),
        ("my_tags", "x" * 2_001),
    ],
)
def test_row_with_invalid_field_is_rejected(name: str, wrong: str) -> None:
    for text in wrong.split("|"):
        assert len(refusal(**{name: text})) < 200


@pytest.mark.parametrize(
    ("name", "field", "wrong"),
    [
        ("my_score", "score", "101|-1|x|1e1|0x1|" + "9" * 5000),
        ("my_watched_episodes", "episodes_watched", "-1|x|2147483648|" + "9" * 5000),
        ("my_times_watched", "times_rewatched", "-1|x|2147483648"),
        ("my_start_date", "started_on", "yesterday|0000-05-07|05-07-20"),
    ],
)
def test_optional_field_that_can_not_be_read_is_left_out_with_a_remark(name: str, field: str, wrong: str) -> None:
    for text in wrong.split("|"):
        read = entry(**{name: text})
        assert field in read.absent
        assert read == msgspec.structs.replace(entry(), remarks=read.remarks), text
        [remark] = read.remarks
        assert len(remark) < 200
        assert remark.startswith(f"Its `{name}` ")
        assert remark.endswith("it was left out.")


@pytest.mark.parametrize(
    ("text", "score"), [("0", None), ("", None), ("9.0", 9.0), ("90", 9.0), ("9,0", 9.0), ("100", 10.0)]
)
def test_score_of_10_or_100_points_is_read(text: str, score: float | None) -> None:
    read = entry(my_score=text)
    assert (read.score, read.remarks, "score" in read.absent) == (score, (), False)


@pytest.mark.parametrize(("text", "score"), [("8.5", 9), ("85", 9), ("8,4", 8), ("84", 8), ("0.2", 1)])
def test_score_is_rounded_with_a_remark(text: str, score: float) -> None:
    read = entry(my_score=text)
    assert (read.score, read.remarks) == (score, (f'Its `my_score` "{text}" is {score} of 10.',))


def test_number_with_decimals_is_read() -> None:
    read = entry(my_watched_episodes="37.0", my_times_watched="2.")
    assert (read.episodes_watched, read.times_rewatched, read.remarks) == (37, 2, ())
    read = entry(my_watched_episodes="37.5")
    assert (read.episodes_watched, read.remarks) == (
        37,
        ('Its `my_watched_episodes` "37.5" is not a whole number; 37 was kept.',),
    )


def test_impossible_date_keeps_what_is_certain_with_a_remark() -> None:
    read = entry(my_start_date="2014-00-17", my_finish_date="2015-02-30")
    assert (read.started_on, read.completed_on) == ("2014", "2015-02")
    assert read.remarks == (
        'Its `my_start_date` "2014-00-17" is not a date; 2014 was kept.',
        'Its `my_finish_date` "2015-02-30" is not a date; 2015-02 was kept.',
    )


@pytest.mark.parametrize(
    ("fields", "is_all"),
    [
        ({"my_status": "Completed"}, True),
        ({"my_status": "Completed", "my_watched_episodes": "0"}, True),
        ({"my_status": "Completed", "my_watched_episodes": ""}, True),
        ({"my_status": "Completed", "my_watched_episodes": "12"}, False),
        ({"my_status": "Completed", "my_rewatching": "1"}, False),
        ({"my_status": "Dropped"}, False),
    ],
)
def test_completed_row_without_a_number_has_all_episodes(fields: dict[str, str], is_all: bool) -> None:
    assert entry(**fields).all_episodes is is_all


@pytest.mark.parametrize(
    ("fields", "status", "is_rewatching"),
    [
        ({"my_status": "Completed", "my_rewatching": "1"}, "completed", True),
        ({"my_status": "Completed", "shiki_status": "Rewatching"}, "watching", True),
        ({"my_status": "Watching", "shiki_status": "On-Hold"}, "on_hold", False),
        ({"my_status": "Rewatching", "my_rewatching": "0"}, "watching", True),
    ],
)
def test_rewatch_is_read(fields: dict[str, str], status: str, is_rewatching: bool) -> None:
    read = entry(**fields, my_times_watched="2")
    assert (read.status, read.is_rewatching, read.times_rewatched) == (status, is_rewatching, 2)


@pytest.mark.parametrize(
    ("raw", "notes"),
    [
        ("<![CDATA[tr&egrave;s bien<br />\nfin &amp; plus]]>", "très bien\nfin & plus"),
        ("<![CDATA[a<br>b<BR/>c<br />\r\nd]]>", "a\nb\nc\nd"),
        ("<![CDATA[&#39;&#x65E5;&lt;br /&gt;]]>", "'日<br />"),
        ("<![CDATA[a & b &unknown; &#0;<i>c</i>]]>", "a & b &unknown; \ufffd<i>c</i>"),
        ("tr&egrave;s &lt;br /&gt; bien", "très \n bien"),
    ],
)
def test_notes_of_html_become_text(raw: str, notes: str) -> None:
    assert entry(my_comments=raw).notes == notes


def test_rows_of_manga_are_reported_beside_anime() -> None:
    good = "<series_animedb_id>1</series_animedb_id><my_status>1</my_status>"
    manga = "<manga_mangadb_id>1</manga_mangadb_id><manga_title>Monster</manga_title><my_status>2</my_status>"
    xml = f"<myanimelist><anime>{good}</anime><manga>{manga}</manga><anime>{manga}</anime><manga/>"
    xml += f"<anime>{good}<series_type>Light Novel</series_type></anime><anime>{good}</anime></myanimelist>"
    read = read_list(xml.encode())
    assert [each.number for each in read if isinstance(each, ListEntry)] == [1, 6]
    assert [each for each in read if isinstance(each, NotImported)] == [
        NotImported(2, "Monster", "It is a manga.", None),
        NotImported(3, "Monster", "It is a manga.", None),
        NotImported(4, None, "It is a manga.", None),
        NotImported(5, None, "It is a manga.", None),
    ]


def test_swapped_export_type_is_ignored() -> None:
    read = read_list(FULL.replace("<user_export_type>1", "<user_export_type> 2").encode())
    assert [type(each) for each in read] == [ListEntry]


def test_row_at_the_limits_is_read() -> None:
    fields = {"my_comments": "日" * 10_000, "my_tags": "x" * 2_000, "my_watched_episodes": "2147483647"}
    read = entry(my_score="10", **fields)
    assert (read.score, read.notes, read.tags) == (10, fields["my_comments"], fields["my_tags"])
    assert read.episodes_watched == 2**31 - 1


def test_empty_field_is_none_and_not_absent() -> None:
    names = ("my_score", "my_comments", "my_tags", "my_watched_episodes", "my_times_watched", "my_rewatching")
    for text in ("", " \n ", "<![CDATA[]]>"):
        read = entry(**dict.fromkeys((*names, "my_start_date", "my_last_updated"), text))
        assert read == msgspec.structs.replace(entry(), absent=frozenset({"completed_on"}))
    zeros = entry(my_score="0", my_rewatching="0", my_last_updated="0")
    assert zeros == msgspec.structs.replace(entry(), absent=entry().absent - {"score"})
    assert entry(my_rewatching="YES").is_rewatching


def test_invalid_row_does_not_reject_the_others() -> None:
    good = "<series_animedb_id>1</series_animedb_id><my_status>1</my_status>"
    read = rows(good, "", good.replace("1", "x", 1), "<series_title>T</series_title>", good)
    assert [type(each) for each in read] == [ListEntry, NotImported, NotImported, NotImported, ListEntry]
    assert [each.number for each in read] == [1, 2, 3, 4, 5]
    assert read[3] == NotImported(4, "T", "It has no MyAnimeList id.", None)


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        (b"K & K", "K & K"),
        (b"K&K &amp; &lt;", "K&K & <"),
        (b"&foo; &nbsp; &amp &; &#; &#x;", "&foo; &nbsp; &amp &; &#; &#x;"),
        (b"&#26085;&#x65E5; &#x1f600;", "日日 😀"),
        (b"a&#0;b&#1;c&#xD800;d&#xFFFF;e&#x110000;f&#9999999;g", "abcdefg"),
        (b"<![CDATA[K & K &amp; &foo;]]>", "K & K &amp; &foo;"),
        (b"a & <![CDATA[b & ]]>&amp; c", "a & b & & c"),
        (b"a<!-- & <![CDATA[ -- > -->b & c", "ab & c"),
        (b"a<b>c</b>d<br/>", "acd"),
        (b"a\xffb\xc3", "a\ufffdb\ufffd"),
        (b"a\xed\xa0\x80b", "a\ufffd\ufffd\ufffdb"),
        (b"a\0b\x08c\x1f\xef\xbf\xbed", "abcd"),
        (b"<![CDATA[a\0b\x08c]]>", "abc"),
        (b"\n  a b \n ", "a b"),
        (b"\n <![CDATA[ a ]]>\n ", "a"),
        (b"x" * 5000, "x" * 1000),
    ],
)
def test_text_that_is_not_well_formed_is_read(raw: bytes, title: str) -> None:
    assert title_of(raw) == title


def test_references_across_blocks_are_read() -> None:
    for shift in range(12):
        inside = " " * (65_536 - 120 + shift) + "<series_title>" + "&amp;&#x65E5;& &foo;" * 10 + "</series_title>"
        [read] = rows(inside)
        assert read.title == "&日& &foo;" * 10


DTD = "<!DOCTYPE myanimelist [{}]>\n<myanimelist><anime><series_title>{}</series_title></anime></myanimelist>"
LAUGHS = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "xml",
    [
        DTD.format("", "x"),
        DTD.format(LAUGHS, "&a9;"),
        DTD.format('<!ENTITY x SYSTEM "file:///etc/passwd">', "&x;"),
        DTD.format('<!ENTITY % x SYSTEM "http://127.0.0.1:9/"> %x;', "x"),
        '<!DOCTYPE myanimelist SYSTEM "http://127.0.0.1:9/x.dtd"><myanimelist/>',
        '<?xml version="1.0"?><!DOCTYPE myanimelist><myanimelist/>',
    ],
)
def test_file_with_document_type_is_rejected(xml: str) -> None:
    assert "document type or entities" in problem(xml.encode())


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<myanimelist><manga/></myanimelist>", "manga"),
        ("<rss><body/></rss>", "begins with <rss>"),
        ("<myanimelist><anime></myanimelist>", "mismatched"),
        ("<myanimelist/><myanimelist/>", "not well-formed XML"),
        ("< myanimelist/>", "not well-formed XML"),
        ("<myanimelist a='1' a='2'/>", "duplicate"),
    ],
)
def test_xml_that_is_no_anime_list_is_rejected(xml: str, message: str) -> None:
    assert message in problem(xml.encode())


def test_xml_cut_anywhere_is_reported() -> None:
    xml = FULL.strip().encode()
    for length in range(1, len(xml)):
        assert "cut short" in problem(xml[:length]), length


@pytest.mark.parametrize(
    "inside",
    [
        "<a>" * 100,
        "".join(f"<a{n}/>" for n in range(1100)),
        "".join(f"<a b{n}=''/>" for n in range(1100)),
        "".join(f"<?a{n}?>" for n in range(1100)),
        f"<a b='{'x' * 500_000}'/>",
        "<anime/>" * 100_001,
    ],
    ids=["depth", "elements", "attributes", "instructions", "tag", "rows"],
)
def test_xml_above_the_limits_is_rejected(inside: str) -> None:
    with pytest.raises(ListTooLarge):
        list(read_list(f"<myanimelist>{inside}</myanimelist>".encode()))


@given(st.binary(max_size=60))
@settings(max_examples=80, deadline=None)
def test_random_bytes_in_a_text_are_read_or_rejected(raw: bytes) -> None:
    """No other exception is raised, and no text has characters that UTF-8 or the database can't hold."""
    try:
        read = list(read_list(FULL.encode().replace(b"Death Note", raw).replace(b"<b>", raw)))
    except ListFileError:
        return
    assert b"\0" not in "".join(each.title or "" for each in read).encode()
