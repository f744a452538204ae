"""The daily backup into a folder, which keeps the backups of some days."""

import asyncio
import re
import time
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.domain.operations import command_runs
from kitsu.domain.operations.backup import take
from kitsu.domain.operations.backup.files import MediaFiles

_NAME = re.compile(r"kitsu-[0-9]{8}T[0-9]{6}Z\.backup")

log = structlog.get_logger("kitsu.jobs")


async def take_daily(engine: AsyncEngine, media: MediaFiles, folder: Path, due_at: datetime, keep_days: int) -> None:
    """Write the backup of a time unless it is there, then delete those older than `keep_days` (0: none).

    Raises BackupError.
    """
    path = folder / f"kitsu-{due_at:%Y%m%dT%H%M%SZ}.backup"
    if path.exists():  # the worker was killed after it had written the file
        await command_runs.note(engine, command_runs.BACKUP)
    else:
        taken = await take(engine, media, path)
        log.info("backup written", file=path.name, bytes=taken.size, missing_avatars=taken.lost)
    if keep_days:
        oldest = time.time() - timedelta(days=keep_days).total_seconds()
        await asyncio.to_thread(_delete_old, folder, oldest)


def _delete_old(folder: Path, oldest: float) -> None:
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name) and path.stat().st_mtime < oldest:
            path.unlink()
