"""The file of a backup: a tar of these members.

kitsu-backup.json   see About
database.dump       in pg_dump's custom format
media/…             the files of the media store by their keys
checksums.json      SHA-256 and length of each member above
"""

import fcntl
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import file_digest, sha256
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import msgspec

FORMAT = 1
ABOUT = "kitsu-backup.json"
DUMP = "database.dump"
MEDIA = "media/"
CHECKSUMS = "checksums.json"

CHUNK_BYTES = 1 << 20
BLOCK_BYTES = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK_BYTES)
UNFINISHED = ".kitsu-backup-"
"""The beginning of the names of temporary files."""


class BackupError(Exception):
    """A backup or a restore fails; the message is one line for an operator."""


class About(msgspec.Struct):
    """The origin of a backup."""

    kitsu: str
    revision: str
    postgresql: str
    pg_dump: str  # its version; an older pg_restore can't read the dump
    taken_at: str  # the time of the database's snapshot, in ISO 8601 and UTC
    format: int = FORMAT


class Checksum(msgspec.Struct):
    sha256: str
    length: int


class Writer:
    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._checksums: dict[str, Checksum] = {}
        self.size = 0  # bytes, after `finish`

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

        self._write(_header(name, 0))  # a placeholder
        yield write
        self._write(_padding(length))
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


def _padding(length: int) -> bytes:
    return bytes(-length % BLOCK_BYTES)


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Yield a writer of a temporary file, which is renamed to the path when the context ends without an error.

    Raises BackupError if the path exists, and for errors of the disk.
    """
    _check_free(path)
    with _backup_errors(path):
        _remove_unfinished(path.parent)
        number, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    unfinished = Path(name)
    try:
        _try_lock(number)
        with open(number, "w+b", buffering=0) as file:  # noqa: PTH123 - a number, not a path
            writer = Writer(path, file)
            yield writer
            writer.finish()
        _check_free(path)
        with _backup_errors(path):
            unfinished.rename(path)
            folder = os.open(path.parent, os.O_RDONLY)
            with suppress(OSError):  # network file systems may not support it
                os.fsync(folder)
            os.close(folder)
    finally:
        unfinished.unlink(missing_ok=True)


def _try_lock(number: int) -> bool:
    """Lock an open file for this process. Return whether no other process has locked it."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # also of file systems without locks
        return False
    return True


def _remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of killed processes, which have lost their locks."""
    for path in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError), path.open("rb") as file:
            if _try_lock(file.fileno()):
                path.unlink()


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise BackupError(f"{path} already exists: name another file.")


@contextmanager
def _backup_errors(path: Path, verb: str = "written") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(f"{path} can't be {verb}: {error.strerror or error}.") from error


@contextmanager
def opened(path: Path) -> Iterator["Archive"]:
    """Open a backup and check all of it. Raises BackupError."""
    with ExitStack() as stack:
        try:
            with _backup_errors(path, "read"):
                archive = Archive(path, stack.enter_context(path.open("rb")))
        except (tarfile.TarError, msgspec.DecodeError, ValueError) as error:
            raise BackupError(f"{path} is not a backup of Kitsu, or damaged or incomplete.") from error
        yield archive


class Archive:
    def __init__(self, path: Path, file: IO[bytes]) -> None:
        """Read the whole file and check each byte."""
        self.size = os.fstat(file.fileno()).st_size
        self._path = path
        self._file = file
        self._tar = tarfile.TarFile(fileobj=file)
        first = self._tar.next()  # before the other headers: a large file of another kind is refused at once
        if first is None or first.name != ABOUT:
            raise BackupError(f"{path} is not a backup of Kitsu.")
        form = msgspec.json.decode(self._open(first).read(), type=dict[str, Any]).get("format")
        if form != FORMAT:
            raise BackupError(f"{path} is a backup of format {form}, and this version of Kitsu reads format {FORMAT}.")
        *others, last = self._tar.getmembers()
        self._check_framing([*others, last])
        checksums = msgspec.json.decode(self._open(last).read(), type=dict[str, Checksum])
        self._members = {member.name: member for member in others}
        names = [member.name for member in others]
        if names != list(checksums) or names[1:2] != [DUMP] or not all(map(_is_key, names[2:])):
            raise self._damaged("members are missing or unknown")
        for member in others:
            digest = file_digest(self._open(member), "sha256")
            if Checksum(digest.hexdigest(), member.size) != checksums[member.name]:
                raise self._damaged(f"{member.name} has another checksum")
        self.about = msgspec.json.decode(self._open(first).read(), type=About)
        self.keys = [name.removeprefix(MEDIA) for name in names[2:]]

    def dump(self) -> Iterator[bytes]:
        """Yield the database's dump in pieces."""
        file = self._open(self._members[DUMP])
        with _backup_errors(self._path, "read"):
            yield from iter(lambda: file.read(CHUNK_BYTES), b"")

    def media(self, key: str) -> bytes:
        """Return a file of the media store."""
        with _backup_errors(self._path, "read"):
            return self._open(self._members[MEDIA + key]).read()

    def _check_framing(self, members: list[tarfile.TarInfo]) -> None:
        """Check headers, paddings and the end, of which tarfile reads only a part."""
        place = 0
        for member in members:
            header, padding = _header(member.name, member.size), _padding(member.size)
            end = member.offset_data + member.size
            if self._at(place, len(header)) != header or self._at(end, len(padding)) != padding:
                raise self._damaged(f"the header or padding of {member.name} is wrong")
            place = end + len(padding)
        if members[-1].name != CHECKSUMS or self.size != place + len(END) or self._at(place, len(END)) != END:
            raise self._damaged("its end is wrong")

    def _at(self, place: int, length: int) -> bytes:
        self._file.seek(place)
        return self._file.read(length)

    def _open(self, member: tarfile.TarInfo) -> BufferedReader:
        # For a link, tarfile would open its target.
        file = self._tar.extractfile(member) if member.isreg() else None
        if not isinstance(file, BufferedReader):
            raise self._damaged(f"{member.name} is not a regular file")
        return file

    def _damaged(self, how: str) -> BackupError:
        return BackupError(f"{self._path} is damaged or incomplete: {how}.")


def _is_key(name: str) -> bool:
    return name.startswith(MEDIA) and not {"", ".", ".."} & set(name.split("/"))
