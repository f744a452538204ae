"""Invalid values of parameters and fields, and an unknown id."""

from typing import Any

UNKNOWN_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
BAD_IDS = ("x", "1", "null", UNKNOWN_ID + "0", UNKNOWN_ID[:-1], UNKNOWN_ID.replace("-", "_"), "%00", "%F0%9F%A6%8A")
MAX_INTEGER = 2**31 - 1
NOT_INTEGERS: tuple[Any, ...] = (True, False, 1.5, "x", [], {}, 2**31, -(2**31) - 1, 2**63, 10**400)
NOT_TEXTS: tuple[Any, ...] = (1, True, [], {}, "a\0b", "\ud800", "a\udc00b")
EXTRA: dict[str, Any] = {
    "id": UNKNOWN_ID,
    "user_id": UNKNOWN_ID,
    "role": "admin",
    "is_active": False,
    "version": 99,
    "created_at": "x",
}
"""Fields that no request body accepts."""
