"""The database and the media store in one file, and back.

archive.py   the file: a tar of checked members, written and read
postgres.py  pg_dump and pg_restore: which of them, and how they are run
files.py     the files of the media store, all of them
taking.py    `kitsu backup`
restoring.py `kitsu restore`

A backup under load is whole, because a file is put before a user refers to it, and its note (see stray_files) is there
before it is put. The store is listed first, then the database's snapshot is taken, then the files are read that were in
the list, that a user of the snapshot has, or that are noted in it. What is put later is left out: the snapshot does not
know it, and restored it would be a file that nobody ever purges. What was deleted before it could be read is missed by
no more than a user of the snapshot, whose avatar was changed meanwhile; the restore leaves such a user without one.
"""

from kitsu.domain.operations.backup.archive import BackupError
from kitsu.domain.operations.backup.restoring import Restored, restore
from kitsu.domain.operations.backup.taking import Taken, take

__all__ = ["BackupError", "Restored", "Taken", "restore", "take"]
