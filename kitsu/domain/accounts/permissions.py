"""Roles and their permissions."""

from typing import Annotated, Literal

from msgspec import Meta

Role = Annotated[Literal["user", "editor", "admin"], Meta(title="Role", description="The role of a user.")]
Permission = Literal["read:content", "read:profile", "write:profile", "write:content", "edit:catalogue", "admin:*"]

_USER: frozenset[Permission] = frozenset(("read:content", "read:profile", "write:profile", "write:content"))
_EDITOR: frozenset[Permission] = _USER | {"edit:catalogue"}
PERMISSIONS: dict[Role, frozenset[Permission]] = {"user": _USER, "editor": _EDITOR, "admin": _EDITOR | {"admin:*"}}
PROTECTED: frozenset[Permission] = PERMISSIONS["admin"] - _USER
"""The permissions that REQUIRE_ADMIN_SECOND_FACTOR ties to a second factor."""
