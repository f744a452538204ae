"""Roles and their permissions."""

from typing import Annotated, Literal

from msgspec import Meta

Role = Annotated[Literal["user", "admin"], Meta(title="Role", description="The role of a user.")]
Permission = Literal["read:content", "read:profile", "write:profile", "write:content", "admin:*"]

_USER: frozenset[Permission] = frozenset(("read:content", "read:profile", "write:profile", "write:content"))
PERMISSIONS: dict[Role, frozenset[Permission]] = {"user": _USER, "admin": _USER | {"admin:*"}}
