"""Versions: how a device says which state of a thing it knows, so that it does not undo what another one did."""

from typing import Any
from uuid import UUID

import msgspec

from kitsu.errors import PreconditionFailed


class Expected(msgspec.Struct, frozen=True):
    """The states that a change may start from."""

    tags: frozenset[str]
    """Of `version_tag`; `*` for whatever is there."""

    def check(self, row: Any) -> None:
        """Raise PreconditionFailed unless the row is in one of these states; None: it does not exist."""
        if row is None or not self.tags & {"*", version_tag(row.id, row.version)}:
            raise PreconditionFailed


def version_tag(row_id: UUID, version: int) -> str:
    """What names this state of a thing, and no other's: one that is made anew has another id."""
    return f"{row_id}.{version}"
