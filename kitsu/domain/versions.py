"""Versions of rows, which keep a device from overwriting the changes of another one."""

from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec

from kitsu.errors import PreconditionFailed


class Expected(msgspec.Struct, frozen=True):
    """The versions that a change may start from."""

    tags: frozenset[str]  # values of `version_tag`, or `*` for any version

    def check(self, row: Any) -> None:
        """Raise PreconditionFailed unless the row, None if missing, has one of these versions."""
        if row is None or not self.tags & {"*", version_tag(row.id, row.version)}:
            raise PreconditionFailed

    def check_content(self, current: msgspec.Struct) -> None:
        """Raise PreconditionFailed unless `current` is what the client last saw."""
        if not self.tags & {"*", content_tag(msgspec.json.encode(current))}:
            raise PreconditionFailed


def version_tag(row_id: UUID, version: int) -> str:
    """Return the tag of a version; a row that is created again has another id."""
    return f"{row_id}.{version}"


def content_tag(body: bytes) -> str:
    """Return the tag of a response's body."""
    return blake2b(body, digest_size=12).hexdigest()
