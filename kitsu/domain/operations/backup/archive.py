"""The file of a backup: a tar whose first member describes it, and whose last one has checksums of all others.

kitsu-backup.json   see About
database.dump       in pg_dump's custom format
media/…             the files of the media store by their keys
checksums.json      SHA-256 and length of each member above
"""

import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO

import msgspec

FORMAT = 1
ABOUT = "kitsu-backup.json"
DUMP = "database.dump"
MEDIA = "media/"
CHECKSUMS = "checksums.json"

CHUNK = 1 << 20
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)


class BackupError(Exception):
    """A backup can't be taken or restored; the message is one line for an operator."""


class About(msgspec.Struct):
    """The origin of a backup."""

    kitsu: str
    revision: str
    """Of the schema."""
    postgresql: str
    """The server's version."""
    pg_dump: str
    """Its version; an older pg_restore can't read the dump."""
    taken_at: str
    """In UTC, as in ISO 8601: the time of the database's snapshot."""
    format: int = FORMAT


class Checksum(msgspec.Struct):
    """Of one member; the length is in bytes."""

    sha256: str
    length: int


class _Format(msgspec.Struct):
    format: int


class Writer:
    """Writes members to an unbuffered file."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._checksums: dict[str, Checksum] = {}
        self.size = 0
        """Bytes, once it is finished."""

    def add(self, name: str, data: bytes) -> None:
        """Write a member."""
        with self.member(name) as write:
            write(data)

    @contextmanager
    def member(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """Yield a function that writes the data of a member of any length."""
        start = self._file.tell()
        digest, length = sha256(), 0

        def write(data: bytes) -> None:
            nonlocal length
            self._write(data)
            digest.update(data)
            length += len(data)

        # A placeholder of the same length as the header with the real length.
        self._write(_header(name, 0))
        yield write
        self._write(bytes(-length % BLOCK))
        end = self._file.tell()
        self._file.seek(start)
        self._write(_header(name, length))
        self._file.seek(end)
        self._checksums[name] = Checksum(digest.hexdigest(), length)

    def finish(self) -> None:
        """Write the checksums and the end of the tar, and flush the file to disk."""
        self.add(CHECKSUMS, msgspec.json.encode(self._checksums))
        self._write(END)
        self.size = self._file.tell()
        with _backup_errors(self._path):
            os.fsync(self._file.fileno())

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        with _backup_errors(self._path):
            while rest:
                rest = rest[self._file.write(rest) :]


def _header(name: str, length: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = length
    info.mode = 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Yield a writer; its file is at this path after the context ends without an error, and is removed otherwise.

    Raises BackupError if the path exists, and for errors of the disk.
    """
    _check_free(path)
    with _backup_errors(path):
        number, name = tempfile.mkstemp(prefix=".kitsu-backup-", dir=path.parent)
    unfinished = Path(name)
    try:
        with open(number, "w+b", buffering=0) as file:  # noqa: PTH123 - a number, not a path
            writer = Writer(path, file)
            yield writer
            writer.finish()
        _check_free(path)
        with _backup_errors(path):
            unfinished.rename(path)
            _sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise BackupError(f"{path} is there already: name another file.")


def _sync(folder: Path) -> None:
    """Write the folder to disk, with the names of its files."""
    number = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # network file systems may not support it
            os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def _backup_errors(path: Path, verb: str = "written") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(f"{path} can't be {verb}: {error.strerror or error}.") from error


class Archive:
    """A backup to read."""

    about: About

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.size = os.fstat(file.fileno()).st_size
        self._path = path
        self._file = file
        self._tar = tarfile.TarFile(fileobj=file)
        self._members: dict[str, tarfile.TarInfo] = {}

    @property
    def keys(self) -> list[str]:
        """Return the keys of the files of the media store."""
        return [name.removeprefix(MEDIA) for name in self._members if name.startswith(MEDIA)]

    def dump(self) -> Iterator[bytes]:
        """Yield the database's dump in pieces."""
        return self._pieces(self._members[DUMP])

    def media(self, key: str) -> bytes:
        """Return a file of the media store."""
        return self._read(self._members[MEDIA + key])

    def check(self) -> None:
        """Read the whole archive. Raises BackupError unless each byte is as it was written."""
        # Only the first header is read, so that a large file of another kind is recognized at once.
        first = self._tar.next()
        if first is None or first.name != ABOUT:
            raise BackupError(f"{self._path} is no backup of Kitsu.")
        form = msgspec.json.decode(self._read(first), type=_Format).format
        if form != FORMAT:
            raise BackupError(
                f"{self._path} is a backup of format {form}, and this version of Kitsu reads format {FORMAT}."
            )
        *others, last = self._tar.getmembers()
        end = last.offset_data + last.size + (-last.size % BLOCK) + len(END)
        if last.name != CHECKSUMS or self.size != end:
            raise self._damaged("it does not end as it should")
        checksums = msgspec.json.decode(self._read(last), type=dict[str, Checksum])
        names = [member.name for member in others]
        if names != list(checksums) or names[1:2] != [DUMP] or not all(map(_is_key, names[2:])):
            raise self._damaged("it has not the members that it should have")
        for member in others:
            digest = sha256()
            for piece in self._pieces(member):
                digest.update(piece)
            if Checksum(digest.hexdigest(), member.size) != checksums[member.name]:
                raise self._damaged(f"{member.name} is not as it was written")
        if not all(map(self._is_framed, (*others, last))) or self._at(end - len(END), len(END)) != END:
            raise self._damaged("what is between its members is not as it was written")
        self.about = msgspec.json.decode(self._read(first), type=About)
        self._members = dict(zip(names, others, strict=True))

    def _is_framed(self, member: tarfile.TarInfo) -> bool:
        """Return whether header and padding are as written; tarfile reads only a part of them."""
        padding = -member.size % BLOCK
        header = self._at(member.offset, member.offset_data - member.offset)
        is_padded = self._at(member.offset_data + member.size, padding) == bytes(padding)
        return is_padded and header == _header(member.name, member.size)

    def _at(self, place: int, length: int) -> bytes:
        self._file.seek(place)
        return self._file.read(length)

    def _damaged(self, how: str) -> BackupError:
        return BackupError(f"{self._path} is damaged or cut short: {how}.")

    def _read(self, member: tarfile.TarInfo) -> bytes:
        return b"".join(self._pieces(member))

    def _pieces(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        # For a link, tarfile would read its target.
        file = self._tar.extractfile(member) if member.isreg() else None
        if file is None:
            raise self._damaged(f"{member.name} is no plain file")
        with _backup_errors(self._path, "read"):
            while piece := file.read(CHUNK):
                yield piece


def _is_key(name: str) -> bool:
    return name.startswith(MEDIA) and not {"", ".", ".."} & set(name.split("/"))


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open a backup and check all of it. Raises BackupError."""
    with _backup_errors(path, "read"):
        file = path.open("rb")
    with file:
        try:
            with _backup_errors(path, "read"):
                archive = Archive(path, file)
                archive.check()
        except (tarfile.TarError, msgspec.DecodeError, ValueError) as error:
            raise BackupError(f"{path} is no backup of Kitsu, or damaged or cut short.") from error
        yield archive
