"""The database and the media store in one file, and back.

archive.py   the file: a tar of checked members, written and read
postgres.py  pg_dump and pg_restore, and what they need to know of a database
files.py     all files of the media store
taking.py    `kitsu backup`
restoring.py `kitsu restore`

A backup under load is complete, because a file is put before a user refers to it, and is noted (see stray_files) before
it is put. The store is listed first, then the database's snapshot is taken, then these files are read: those of the
list, those of the snapshot's users, and those noted in it. A file put later is left out: no row of the snapshot names
it, so after a restore `kitsu purge` would never delete it. A file deleted before it could be read is missed only by a
user of the snapshot whose avatar was changed meanwhile; the restore leaves that user without an avatar.
"""

from kitsu.domain.operations.backup.archive import BackupError
from kitsu.domain.operations.backup.restoring import Restored, restore
from kitsu.domain.operations.backup.taking import Taken, take

__all__ = ["BackupError", "Restored", "Taken", "restore", "take"]
