"""Every viewer path requires a valid token, and checks it before the rest of the request."""

from typing import Any

import pytest

from tests.assertions import check_token_is_required
from tests.factories import Backend
from tests.values import UNKNOWN_ID

COLLECTION = f"/collections/{UNKNOWN_ID}"
PROGRESS = {"anime_id": UNKNOWN_ID, "episode": 1, "position_seconds": 1}
REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "/favorites", None),
    ("POST", "/favorites", {"anime_id": UNKNOWN_ID}),
    ("POST", "/favorites", {"anime_id": 1}),
    ("DELETE", f"/favorites/{UNKNOWN_ID}", None),
    ("DELETE", "/favorites/x", None),
    ("GET", "/watch/progress", None),
    ("POST", "/watch/progress", PROGRESS),
    ("POST", "/watch/progress", {}),
    ("GET", "/watch/continue", None),
    ("DELETE", f"/watch/continue/{UNKNOWN_ID}", None),
    ("GET", "/views", None),
    ("POST", "/views", {"episode_id": UNKNOWN_ID, "progress": 1}),
    ("POST", "/views", {}),
    ("DELETE", "/views", None),
    ("DELETE", f"/views/{UNKNOWN_ID}", None),
    ("GET", "/library", None),
    ("GET", f"/library/{UNKNOWN_ID}", None),
    ("PUT", f"/library/{UNKNOWN_ID}", {"status": "watching"}),
    ("PUT", f"/library/{UNKNOWN_ID}", {}),
    ("DELETE", f"/library/{UNKNOWN_ID}", None),
    ("POST", "/collections", {"name": "x"}),
    ("PATCH", COLLECTION, {"name": "Mine"}),
    ("DELETE", COLLECTION, None),
    ("PUT", f"{COLLECTION}/anime/{UNKNOWN_ID}", None),
    ("DELETE", f"{COLLECTION}/anime/{UNKNOWN_ID}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
async def test_request_without_valid_token_is_401(backend: Backend, method: str, path: str, body: Any) -> None:
    await check_token_is_required(backend.client, method, path, body)
