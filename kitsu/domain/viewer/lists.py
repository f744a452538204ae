"""What the five lists of a viewer have in common: pages, changes and tombstones."""

from typing import Generic, TypeVar
from uuid import UUID

from kitsu.db.statements import StatementRunner
from kitsu.domain.changes import Changes, ChangesListing, ListRequest
from kitsu.domain.pagination import Listing, Page

T = TypeVar("T")


class OwnListReader(Generic[T]):
    """Reads a list of a viewer's own rows, whose statements have the parameter `user_id`."""

    listing: Listing[T]
    changes: ChangesListing[T]

    def __init__(self, runner: StatementRunner) -> None:
        self.runner = runner

    async def read(self, user_id: UUID, request: ListRequest) -> Page[T] | Changes[T]:
        """Return a page of the list, or of its changes. Raises InvalidRequest for a cursor of another list."""
        if request.changes is not None:
            return await self.changes.read(self.runner, user_id, request.changes)
        return await self.listing.page(self.runner, {"user_id": user_id}, request.page)
