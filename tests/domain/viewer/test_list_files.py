"""The bytes of a list: its encoding, compression, size and format."""

import gzip
import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from kitsu.domain.viewer.list_import.entries import ListEntry, ListFileError, ListTooLarge
from kitsu.domain.viewer.list_import.files import MAX_BYTES, read_list
from kitsu.domain.viewer.list_import.values import format_date, parse_time
from tests.conftest import ROOT

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
        (b"[]", "neither"),
        (b"null", "neither"),
        (b"\x89PNG\r\n\x1a\n", "neither"),
        (b"PK\x03\x04", "neither"),
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


# Runs in its own process, to measure its memory.
MEASURE = """
import resource, sys, time
from pathlib import Path
from kitsu.domain.viewer.list_import.entries import ListFileError
from kitsu.domain.viewer.list_import.files import read_list
data = Path(sys.argv[1]).read_bytes()
unit = 1 if sys.platform == "darwin" else 1024
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    for _ in read_list(data):
        pass
except ListFileError as error:
    print(type(error).__name__)
print(time.process_time() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""


def measured(path: Path, data: bytes) -> tuple[str, float, float]:
    path.write_bytes(data)
    command = [sys.executable, "-c", MEASURE, str(path)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    outcome, numbers = done.stdout.splitlines()
    seconds, peak = map(float, numbers.split())
    return outcome, seconds, peak


def packed(start: bytes, times: int) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    megabyte = start * (1_000_000 // len(start))
    return b"".join(
        [packer.compress(b"<myanimelist>"), *(packer.compress(megabyte) for _ in range(times)), packer.flush()]
    )


# A few KB that unpack to much text, depth, elements, ampersands or one endless tag.
BOMBS = {
    "a gigabyte": (packed(b"\0", 1000), 100e6),
    "depth": (packed(b"<a>", 33), 150e6),
    "rows": (packed(b"<anime/>", 33), 150e6),
    "ampersands": (packed(b"&", 33), 150e6),
    "one tag": (zipped(b"<myanimelist><a " + b"x" * 33_000_000, 1), 150e6),
    "deep JSON": (zipped(b'{"lists":' + b"[" * 33_000_000, 1), 150e6),
}


@pytest.mark.parametrize("name", BOMBS)
def test_decompression_bomb_is_rejected_within_limits(tmp_path: Path, name: str) -> None:
    data, most = BOMBS[name]
    outcome, seconds, peak = measured(tmp_path / "bomb.gz", data)
    assert outcome == "ListTooLarge"
    assert seconds < 1
    assert peak < most


def test_format_date_keeps_the_known_part() -> None:
    assert format_date(2020, 2, 29) == "2020-02-29"
    assert format_date(2020, 2, None) == "2020-02"
    assert format_date(2020, 0, 5) == "2020"
    assert format_date(5, None, None) == "0005"
    impossible: list[tuple[int | None, int | None, int | None]]
    impossible = [(2019, 2, 29), (2020, 13, 1), (2020, -1, 1), (0, 1, 1), (None, 1, 1), (10_000, 1, 1), (10**30, 0, 0)]
    assert [format_date(*each) for each in impossible] == [None] * len(impossible)


def test_parse_time_of_impossible_seconds_is_none() -> None:
    assert str(parse_time(1_600_000_000)) == "2020-09-13 12:26:40+00:00"
    assert str(parse_time(253_402_300_799)) == "9999-12-31 23:59:59+00:00"
    assert [parse_time(each) for each in (None, 0, -1, 253_402_300_800, 10**30)] == [None] * 5
