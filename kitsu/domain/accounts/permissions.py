"""Roles and their permissions."""

from typing import Literal

Role = Literal["user", "admin"]
Permission = Literal["read:content", "read:profile", "write:profile", "write:content", "admin:*"]

_USER: frozenset[Permission] = frozenset(("read:content", "read:profile", "write:profile", "write:content"))
PERMISSIONS: dict[Role, frozenset[Permission]] = {"user": _USER, "admin": _USER | {"admin:*"}}
