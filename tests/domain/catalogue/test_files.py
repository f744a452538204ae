"""The file formats: their entries, and the one-line message for an invalid file."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy.engine import URL

from kitsu.domain.catalogue.importing import CatalogueFileError
from kitsu.domain.catalogue.importing.files import MAX_LINE, Numbered, read_catalogue
from tests.conftest import ROOT
from tests.domain.catalogue.test_import import FULL, METADATA, dump, entry, run_import

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BOM = b"\xef\xbb\xbf"
ENTRIES = [FULL, entry(2, title="Zwölf 十二"), entry(3, relatedAnime=[], unknown={"deep": [1, None]})]


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)


def one_object(*values: Any) -> bytes:
    return json.dumps({**METADATA, "data": values}, ensure_ascii=False, indent=1).encode()


LINES, OBJECT = lines(METADATA, *ENTRIES), one_object(*ENTRIES)


def read(path: Path) -> list[Numbered]:
    return list(read_catalogue(path, lambda _: None))


def read_as(folder: Path, name: str, content: bytes) -> list[Numbered]:
    (folder / name).write_bytes(content)
    return read(folder / name)


def titles(found: list[Numbered]) -> list[str]:
    assert [numbered.reason for numbered in found] == [""] * len(found)
    return [numbered.entry.title for numbered in found if numbered.entry]


FORMS = {
    "c.jsonl": LINES,
    "c.jsonl.zst": zstd.compress(LINES),
    "c.json": OBJECT,
    "c.json.zst": zstd.compress(OBJECT),
    "C.JSONL": LINES,
    "c.JSONL.ZST": zstd.compress(LINES),
    "minified.json": json.dumps({"data": ENTRIES}).encode(),
    "data-comes-first.json": json.dumps({"data": ENTRIES, **METADATA}).encode(),
    "no-final-newline.jsonl": LINES.rstrip(b"\n"),
    "crlf.jsonl": LINES.replace(b"\n", b"\r\n"),
    "blank-lines.jsonl": LINES.replace(b"\n", b"\n\n  \n"),
    "no-metadata.jsonl": lines(*ENTRIES),
    "bom.jsonl": BOM + LINES,
    "bom-and-no-metadata.jsonl": BOM + lines(*ENTRIES),
    "bom.json": BOM + OBJECT,
    "two-frames.jsonl.zst": zstd.compress(LINES[:100]) + zstd.compress(LINES[100:]),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_format_has_the_same_entries(tmp_path: Path, name: str) -> None:
    found = read_as(tmp_path, name, FORMS[name])
    assert [numbered.entry for numbered in found] == [each.entry for each in read_as(tmp_path, "of.jsonl", LINES)]
    assert titles(found) == ["デスノート", "Zwölf 十二", "Anime 3"]


def test_entries_are_numbered_by_line_or_position(tmp_path: Path) -> None:
    assert [found.number for found in read_as(tmp_path, "c.jsonl", LINES)] == [2, 3, 4]
    assert [found.number for found in read_as(tmp_path, "c.jsonl", lines(METADATA) + b"\n\n" + lines(entry()))] == [4]
    assert [found.number for found in read_as(tmp_path, "c.jsonl", lines(entry()))] == [1]
    assert [found.number for found in read_as(tmp_path, "c.json", OBJECT)] == [1, 2, 3]


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.zst", "c.json", "c.json.zst"])
def test_progress_increases_to_the_size_of_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    many = [entry(n) for n in range(5000)]
    content = lines(METADATA, *many) if "jsonl" in name else one_object(*many)
    path.write_bytes(zstd.compress(content) if name.endswith(".zst") else content)
    positions: list[int] = []
    assert sum(1 for _ in read_catalogue(path, positions.append)) == 5000
    assert positions == sorted(positions)
    assert positions[-1] == path.stat().st_size


def test_invalid_entries_of_one_json_object_are_refused(tmp_path: Path) -> None:
    bad: list[Any] = [5, None, "text", [], {}, entry(type="BOOK"), entry(title="a", episodes=-1)]
    found = read_as(tmp_path, "c.json", one_object(entry(1), *bad, entry(2)))
    assert [numbered.number for numbered in found if numbered.reason] == [2, 3, 4, 5, 6, 7, 8]
    assert titles([found[0], found[-1]]) == ["Anime 1", "Anime 2"]


# In a process of its own: a number of 5,000 digits may crash a parser in C.
READ = """
import sys
from pathlib import Path
from kitsu.domain.catalogue.importing.files import CatalogueFileError, read_catalogue
for name in sys.argv[1:]:
    try:
        print([bool(numbered.reason) for numbered in read_catalogue(Path(name), lambda _: None)])
    except CatalogueFileError as error:
        print(error)
"""


def test_huge_number_is_refused(tmp_path: Path) -> None:
    """In a `.jsonl` its entry is invalid, unless the key is ignored. A `.json` may be refused as a whole."""
    names = []
    for n, number in enumerate(("1" + "0" * 30, "9" * 5000, "1e999", "-1e" + "9" * 30)):
        huge = json.dumps(entry(2)).replace('"episodes": 3', f'"episodes": {number}')
        unknown = json.dumps(entry(3, unknown=0)).replace('"unknown": 0', f'"unknown": {number}')
        each = (json.dumps(entry(1)), huge, unknown)
        (tmp_path / f"{n}.jsonl").write_text("{}\n" + "\n".join(each))
        (tmp_path / f"{n}.json").write_text(f'{{"data": [{",".join(each)}]}}')
        names += [f"{n}.jsonl", f"{n}.json"]
    done = subprocess.run(
        [sys.executable, "-c", READ, *names],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    for name, line in zip(names, done.stdout.decode().splitlines(), strict=True):
        if name.endswith(".jsonl") or not line.startswith(name):
            assert line == "[False, True, False]", name


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00"
NO_ANIME = "holds no anime"
NO_JSON = "no JSON"
# Name, content, and a part of the message.
WRONG: list[tuple[str, bytes, str]] = [
    *((name, b"", "is empty") for name in ("c.jsonl", "c.json", "c.jsonl.zst", "c.json.zst")),
    ("c.jsonl", lines(METADATA), NO_ANIME),
    ("c.jsonl", json.dumps(METADATA).encode(), NO_ANIME),
    ("c.jsonl", lines(METADATA) + b"\n \n", NO_ANIME),
    ("c.jsonl.zst", zstd.compress(lines(METADATA)), NO_ANIME),
    ("c.json", json.dumps(METADATA).encode(), NO_ANIME),
    ("c.json", b'{"data": []}', NO_ANIME),
    ("c.json", b'{"data": {}}', NO_ANIME),
    ("c.json", b'{"data": "text"}', NO_ANIME),
    ("c.json", json.dumps(ENTRIES).encode(), NO_ANIME),
    ("c.json", b"[]", NO_ANIME),
    ("c.json", b"null", NO_ANIME),
    ("c.json.zst", zstd.compress(b"{}"), NO_ANIME),
    ("c.jsonl.zst", zstd.compress(b""), NO_ANIME),
    ("c.jsonl", b"What is this?\nNo catalogue.\n", "line 1 is not a JSON object"),
    ("c.jsonl", PNG, "line 1 is not a JSON object"),
    ("c.jsonl", bytes(1000), "line 1 is not a JSON object"),
    ("c.jsonl", b"\n\n", "line 1 is not a JSON object"),
    ("c.jsonl", json.dumps(ENTRIES).encode(), "line 1 is not a JSON object"),
    ("c.jsonl", "{}\n".encode("utf-16"), "line 1 is not a JSON object"),
    ("c.jsonl", b"[" * 10_000, "line 1 is not a JSON object"),
    ("c.jsonl", zstd.compress(LINES), "line 1 is not a JSON object"),
    ("c.jsonl", json.dumps({**METADATA, "data": ENTRIES}).encode(), "end in .json"),
    ("c.jsonl", b'{"data": [' + b" " * MAX_LINE, "ends in .json"),
    ("c.json", b"What is this?\nNo catalogue.\n", NO_JSON),
    ("c.json", PNG, NO_JSON),
    ("c.json", b"\n", NO_JSON),
    ("c.json", LINES, NO_JSON),
    ("c.json", OBJECT + b"{}", NO_JSON),
    ("c.json", zstd.compress(OBJECT), NO_JSON),
    ("c.json", OBJECT.replace("デ".encode(), b"\xff"), NO_JSON),
    ("c.json.zst", zstd.compress(PNG), NO_JSON),
    ("c.jsonl.zst", LINES, "not zstd-compressed"),
    ("c.json.zst", OBJECT, "not zstd-compressed"),
    ("c.jsonl.zst", PNG, "not zstd-compressed"),
    ("c.jsonl.zst", zstd.compress(LINES) + b"more", "not zstd-compressed"),
    ("c.xml", LINES, "ends in .jsonl, .jsonl.zst or .json"),
    ("c.jsonl.gz", LINES, "ends in .jsonl, .jsonl.zst or .json"),
    ("c.zst", zstd.compress(LINES), "ends in .jsonl, .jsonl.zst or .json"),
    ("jsonl", LINES, "ends in .jsonl, .jsonl.zst or .json"),
]


def problem(path: Path) -> str:
    """Return the message for a file: one line that names it."""
    with pytest.raises(CatalogueFileError) as caught:
        read(path)
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    return message


@pytest.mark.parametrize(("name", "content", "message"), WRONG, ids=[f"{w[0]} {w[1][:20]!r}" for w in WRONG])
def test_invalid_file_is_reported(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert message in problem(tmp_path / name)


def test_path_without_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "file.jsonl").write_bytes(LINES)
    (tmp_path / "nowhere.jsonl").symlink_to("other.jsonl")
    (tmp_path / "circle.jsonl").symlink_to("circle.jsonl")
    assert "does not exist" in problem(tmp_path / "missing.jsonl")
    assert "does not exist" in problem(tmp_path / "missing" / "missing.json.zst")
    assert "does not exist" in problem(tmp_path / "nowhere.jsonl")
    assert "Is a directory" in problem(tmp_path / "folder.jsonl")
    assert "Not a directory" in problem(tmp_path / "file.jsonl" / "file.jsonl")
    assert "symbolic links" in problem(tmp_path / "circle.jsonl")
    assert "name too long" in problem(tmp_path / f"{'x' * 300}.jsonl")


def test_pipe_is_read_or_reported(tmp_path: Path) -> None:
    """A pipe is not seekable."""
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)

    def feed() -> None:
        with suppress(BrokenPipeError):
            path.write_bytes(LINES)

    Thread(target=feed, daemon=True).start()
    try:
        assert len(read(path)) == 3
    except CatalogueFileError as error:
        assert str(path) in str(error)  # noqa: PT017 - either will do


SMALL_BODY_BYTES = {
    "c.jsonl": lines({}, entry(1)).rstrip(b"\n"),
    "c.jsonl.zst": zstd.compress(lines({}, entry(1))),
    "c.json": json.dumps({"data": [entry(1)]}).encode(),
    "c.json.zst": zstd.compress(json.dumps({"data": [entry(1)]}).encode()),
}


@pytest.mark.parametrize("name", SMALL_BODY_BYTES)
def test_truncated_file_is_reported(tmp_path: Path, name: str) -> None:
    content = SMALL_BODY_BYTES[name]
    # Only a truncated last line can be detected. A file that ends after a whole line is a shorter file.
    first = content.rindex(b"\n") + 2 if name == "c.jsonl" else 1
    for length in range(first, len(content)):
        (tmp_path / name).write_bytes(content[:length])
        message = problem(tmp_path / name)
        assert "cut short" in message, (length, message)


def test_truncated_line_with_invalid_field_is_reported(tmp_path: Path) -> None:
    """The decoder reports the invalid field instead of the truncation."""
    (tmp_path / "c.jsonl").write_bytes(LINES + json.dumps(entry(9, title=5)).encode()[:-10])
    assert "cut short" in problem(tmp_path / "c.jsonl")


@pytest.mark.parametrize("name", ["c.jsonl.zst", "c.json.zst"])
@pytest.mark.parametrize("damage", [lambda byte: byte ^ 0xFF, lambda byte: byte ^ 1], ids=["byte", "bit"])
def test_damaged_file_raises_no_other_error(tmp_path: Path, name: str, damage: Callable[[int], int]) -> None:
    """Without a checksum some damage looks like other text."""
    content = zstd.decompress(SMALL_BODY_BYTES[name])
    compressed = bytearray(zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1}))
    for place, byte in enumerate(compressed):
        compressed[place] = damage(byte)
        (tmp_path / name).write_bytes(compressed)
        with suppress(CatalogueFileError):
            assert titles(read(tmp_path / name)) == ["Anime 1"], place
        compressed[place] = byte


async def test_100_000_invalid_lines_are_refused(database: URL, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(LINES + b"{}\nno JSON\n" * 50_000)
    before = await dump(database)
    with pytest.raises(CatalogueFileError, match="this is not a catalogue; the first, 5, because") as caught:
        await run_import(database, path)
    assert await dump(database) == before
    assert str(caught.value).isprintable()
    assert str(path) in str(caught.value)
