"""Versions of rows, which keep a device from overwriting the changes of another one."""

from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec

from kitsu.errors import PreconditionFailed


class AlreadyThere(PreconditionFailed):
    message = "The condition of If-None-Match is not met"


class Expected(msgspec.Struct, frozen=True):
    """The versions that a change may start from, and those that it may not. `*` is any version."""

    tags: frozenset[str] | None  # of `If-Match`, or None without it
    refused: frozenset[str] = frozenset()  # of `If-None-Match`

    @property
    def is_new(self) -> bool:
        """Whether the row must not exist."""
        return "*" in self.refused

    def of_parent(self) -> "Expected":
        """Return what is expected of the row that the changed one belongs to: only `If-Match` names its versions."""
        return Expected(self.tags)

    def check(self, row: Any) -> None:
        """Raise PreconditionFailed unless the row, None if missing, is as expected."""
        self._check(None if row is None else version_tag(row.id, row.version))

    def check_content(self, current: msgspec.Struct) -> None:
        """Raise PreconditionFailed unless `current` is what the client last saw."""
        self._check(content_tag(msgspec.json.encode(current)))

    def _check(self, tag: str | None) -> None:
        current = set() if tag is None else {"*", tag}
        if self.tags is not None and not self.tags & current:
            raise PreconditionFailed
        if self.refused & current:
            raise AlreadyThere


def version_tag(row_id: UUID, version: int) -> str:
    """Return the tag of a version; a row that is created again has another id."""
    return f"{row_id}.{version}"


def content_tag(body: bytes) -> str:
    """Return the tag of a response's body."""
    return blake2b(body, digest_size=12).hexdigest()
