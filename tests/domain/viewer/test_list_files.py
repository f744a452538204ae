"""The bytes of a list: its encoding, compression, size and format."""

import gzip
import io
import json
import zipfile

import pytest

from kitsu.domain.viewer.list_import.entries import ListEntry, ListFileError, ListTooLarge, NotImported
from kitsu.domain.viewer.list_import.files import MAX_BYTES, read_list
from kitsu.domain.viewer.list_import.values import read_date, read_time

XML = b"""<?xml version="1.0" encoding="UTF-8" ?>
<myanimelist><myinfo><user_export_type>1</user_export_type></myinfo>
<anime><series_animedb_id>1</series_animedb_id><series_title><![CDATA[B\xc3\xa9bop]]></series_title>
<my_status>Completed</my_status></anime></myanimelist>
"""
JSON = json.dumps(
    {"lists": [{"status": "COMPLETED", "entries": [{"media": {"id": 1, "idMal": 1, "title": {"english": "Bébop"}}}]}]},
    ensure_ascii=False,
).encode()
BOM = b"\xef\xbb\xbf"


def zipped(data: bytes, level: int = 9) -> bytes:
    """Compress without the time, which would differ between the processes that collect the tests."""
    return gzip.compress(data, level, mtime=0)


def archive(**files: bytes) -> bytes:
    """Return a ZIP archive of files, whose names have `__` for a full stop."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(zipfile.ZipInfo(name.replace("__", ".")), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def titles(data: bytes) -> list[str]:
    read = list(read_list(data))
    assert all(isinstance(entry, ListEntry) for entry in read), read
    return [entry.title or "" for entry in read]


def problem(data: bytes) -> str:
    """Return the message for an invalid file, which is one line of text."""
    with pytest.raises(ListFileError) as caught:
        list(read_list(data))
    message = str(caught.value)
    assert message.isprintable()
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("content", [XML, JSON], ids=["xml", "json"])
def test_encoded_and_compressed_lists_read_the_same(content: bytes) -> None:
    text = content.decode()
    forms = [content, BOM + content, b" \r\n\t" + content, BOM + b"\n" + content + b"\n" * 300_000]
    forms += [b"\xff\xfe" + text.encode("utf-16-le"), b"\xfe\xff" + text.encode("utf-16-be")]
    forms += [zipped(form) for form in forms]
    for form in forms:
        assert titles(form) == ["Bébop"], form[:40]


def test_characters_across_decoded_pieces_are_kept() -> None:
    for shift in range(4):
        title = "x" * shift + "日😀" * 200
        padding = " " * (65_536 - 800 - shift)
        data = XML.replace(b"B\xc3\xa9bop", title.encode()).replace(b"<anime>", padding.encode() + b"<anime>")
        assert titles(data) == [title]
        assert titles(b"\xff\xfe" + data.decode().encode("utf-16-le")) == [title]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (BOM, "empty"),
        (zipped(b""), "empty"),
        (bytes(1000), "empty"),
        (b"title,score\n", "neither"),
        (b"hello", "neither"),
        (b"[]", "not a list of MyAnimeList"),
        (b"null", "neither"),
        (b"\x89PNG\r\n\x1a\n", "neither"),
        (b"PK\x03\x04", "ZIP archive is damaged"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
        (b"<!-- saved -->\n<HTML lang='en'><body/></HTML>", "web page"),
        (b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN" "x"><html/>', "web page"),
        (zipped(b"<!doctype html><title>x</title>"), "web page"),
        (zipped(zipped(XML)), "neither"),
        (zipped(XML) + b"more", "behind"),
        (zipped(XML) + zipped(XML), "behind"),
        (zipped(b"") * 10_000, "behind"),
        (b"\x1f\x8b" + bytes(100), "damaged"),
        (zipped(XML)[:-8] + bytes(8), "damaged"),
    ],
)
def test_file_of_another_format_is_rejected(data: bytes, message: str) -> None:
    assert message in problem(data)


def test_gzip_cut_anywhere_is_reported() -> None:
    packed = zipped(XML)
    for length in range(2, len(packed)):
        assert "cut short" in problem(packed[:length]), length


def test_gzip_with_a_flipped_bit_is_rejected_or_read() -> None:
    packed = bytearray(zipped(XML))
    for place, byte in enumerate(packed):
        packed[place] = byte ^ 1
        try:
            assert titles(bytes(packed)) == ["Bébop"], place
        except ListFileError as error:
            assert str(error).isprintable()  # noqa: PT017 - either will do
        packed[place] = byte


def test_file_above_the_size_limit_is_rejected() -> None:
    fits = XML + b" " * (MAX_BYTES - len(XML))
    assert titles(zipped(fits, 1)) == ["Bébop"]
    assert titles(fits) == ["Bébop"]
    for data in (fits + b" ", zipped(fits + b" ", 1)):
        with pytest.raises(ListTooLarge, match="32 MiB"):
            read_list(data)
    assert "empty" in problem(zipped(bytes(10_000_000)))


@pytest.mark.parametrize(
    ("value", "known", "is_whole"),
    [
        (None, None, True),
        ("", None, True),
        (0, None, True),
        ("0000-00-00", None, True),
        ({"year": None, "month": None, "day": None}, None, True),
        ("2020-02-29", "2020-02-29", True),
        (" 2020-5-7 ", "2020-05-07", True),
        ("2020-05-00", "2020-05", True),
        ("2020-05", "2020-05", True),
        ("2020-00-00", "2020", True),
        ("2020", "2020", True),
        ("0005", "0005", True),
        ("2020-05-01 00:00:00+00:00", "2020-05-01", True),
        ("2020-05-01T23:30:00.000Z", "2020-05-01", True),
        (20150203, "2015-02-03", True),
        (20150200, "2015-02", True),
        ("20150000", "2015", True),
        ({"year": 2019, "month": 12, "day": None}, "2019-12", True),
        ("2019-02-29", "2019-02", False),
        ("2020-13-01", "2020", False),
        ("2014-00-17", "2014", False),
        ({"year": 2020, "month": 2, "day": 31}, "2020-02", False),
        ({"year": 2020, "month": -1, "day": 1}, "2020", False),
        ({"year": None, "month": 2, "day": 1}, None, False),
        ({"year": "2020"}, None, False),
        ({"year": 10**30}, None, False),
        ("0000-05-07", None, False),
        ("05-07-20", None, False),
        ("yesterday", None, False),
        ("\uff12\uff10\uff12\uff10-05-07", None, False),
        (10**30, None, False),
        ([2020], None, False),
    ],
)
def test_certain_part_of_a_date_is_kept(value: object, known: str | None, is_whole: bool) -> None:
    assert read_date(value) == (known, is_whole)


def test_time_in_seconds_or_iso_8601_is_read() -> None:
    for value in (
        1_600_000_000,
        "1600000000",
        "2020-09-13T12:26:40Z",
        "2020-09-13 14:26:40+02:00",
        "2020-09-13 12:26:40",
    ):
        assert str(read_time(value)) == "2020-09-13 12:26:40+00:00"
    assert str(read_time(253_402_300_799)) == "9999-12-31 23:59:59+00:00"
    impossible = (None, 0, -1, 253_402_300_800, 10**30, "now", "", "0001-01-01T00:00:00+14:00", [1], True)
    assert [read_time(each) for each in impossible] == [None] * len(impossible)


def test_zip_archive_with_one_list_is_read() -> None:
    for content in (XML, JSON, zipped(XML), BOM + XML):
        assert titles(archive(list__xml=content)) == ["Bébop"]
    system_files = {"__MACOSX/._list": b"x", ".DS_Store": b"x", "folder/": b""}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in {**system_files, "folder/list": XML}.items():
            packed.writestr(name, content)
    assert titles(buffer.getvalue()) == ["Bébop"]


def test_zip_archive_with_several_files_reports_those_that_are_no_list() -> None:
    read = read_list(archive(a__xml=XML, readme__txt=b"hello", b__json=JSON))
    assert [each.number for each in read] == [1, 2, 3]
    assert [type(each) for each in read] == [ListEntry, NotImported, ListEntry]
    assert read[1].title == "readme.txt"
    assert "This file of the archive was not read." in getattr(read[1], "reason", "")


def test_invalid_zip_archive_is_rejected() -> None:
    packed = archive(list__xml=XML)
    for length in range(4, len(packed), 7):
        assert "damaged or cut short" in problem(packed[:length]), length
    assert "no list" in problem(archive(a=b"hello", b=b"<html/>"))
    assert "neither" in problem(archive(a=archive(b=XML)))
    encrypted = bytearray(packed)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + offset] |= 1
    assert "encrypted" in problem(bytes(encrypted))


@pytest.mark.parametrize(
    "data",
    [
        archive(a=b"<" + bytes(MAX_BYTES)),
        archive(a=bytes(MAX_BYTES // 2), b=bytes(MAX_BYTES // 2), c=b"x"),
        archive(**{f"f{number}": b"x" for number in range(101)}),
        archive(a=zipped(bytes(MAX_BYTES + 1))),
    ],
    ids=["one file", "sum", "files", "gzip in it"],
)
def test_zip_archive_above_the_limits_is_rejected(data: bytes) -> None:
    with pytest.raises(ListTooLarge):
        read_list(data)


@pytest.mark.parametrize(
    ("encoding", "title"),
    [
        ("windows-1251", "Тетрадь смерти"),
        ("ISO-8859-1", "Pokémon é"),
        ("iso-8859-15", "œuvre €"),
        ("Shift_JIS", "デスノート"),
        ("EUC-JP", "デスノート"),
        ("koi8-r", "Тетрадь"),
        ("UTF-16", "夜"),
        ("UTF-8", "夜 😀"),
    ],
)
def test_declared_encoding_is_read(encoding: str, title: str) -> None:
    text = XML.decode().replace("UTF-8", encoding).replace("Bébop", title)
    for quoted in (text, text.replace('"', "'"), "\n" + text):
        assert titles(quoted.encode(encoding)) == [title]


def test_utf_16_without_byte_order_mark_is_read() -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        assert titles(XML.decode().encode(encoding)) == ["Bébop"]
        assert titles(JSON.decode().encode(encoding)) == ["Bébop"]


@pytest.mark.parametrize("claim", ["ISO-8859-1", "windows-1251", "UTF-16", "no such", "zip", "rot13", "unicode_escape"])
def test_utf_8_with_another_claim_is_read(claim: str) -> None:
    assert titles(XML.replace(b"UTF-8", claim.encode())) == ["Bébop"]


@pytest.mark.parametrize("claim", ["no such", "zip", "rot13", "unicode_escape", "idna", "UTF-8"])
def test_broken_utf_8_with_a_useless_claim_is_read_with_replacements(claim: str) -> None:
    assert titles(XML.replace(b"UTF-8", claim.encode()).replace(b"\xc3\xa9", b"\xe9")) == ["B\ufffdbop"]
