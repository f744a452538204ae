"""Versions: how a device says which state of a thing it knows, so that it does not undo what another one did."""

from uuid import UUID

import msgspec

from kitsu.errors import PreconditionFailed


class Expected(msgspec.Struct, frozen=True):
    """The states that a change may start from."""

    tags: frozenset[str]
    """Of `version_tag`; `*` for whatever is there."""

    def check(self, row_id: UUID | None, version: int | None) -> None:
        """Raise PreconditionFailed unless the thing is in one of these states; None: it does not exist."""
        if row_id is None or version is None:
            raise PreconditionFailed
        if not self.tags & {"*", version_tag(row_id, version)}:
            raise PreconditionFailed


def version_tag(row_id: UUID, version: int) -> str:
    """What names this state of a thing, and no other's: one that is made anew has another id."""
    return f"{row_id}.{version}"
