"""A page of a list: what was asked for, and what came."""

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class PageRequest(msgspec.Struct, frozen=True):
    """Which part of a list is asked for, and whether the length of all of it is."""

    limit: int = 20
    offset: int = 0
    total: bool = False


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Part of a list."""

    items: list[T]
    more: bool
    """Whether the list goes on behind this part."""
    total: int | None = None
    """The length of the whole list, where it was asked for."""


def cut(items: list[T], request: PageRequest, total: int | None) -> Page[T]:
    """The page out of `limit + 1` items: the one too many only says that the list goes on."""
    return Page(items[: request.limit], len(items) > request.limit, total)
