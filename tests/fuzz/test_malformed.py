"""Malformed bodies, sent to each operation that takes one: each gets an error of the contract, and changes nothing."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.cli.process import Process
from tests.fuzz.accounts import new_account

pytestmark = pytest.mark.fuzz

JSON = "application/json"
FORM = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\na\r\n'
BODIES: dict[str, tuple[bytes, str]] = {
    "bad UTF-8": (b'{"name": "\xff"}', JSON),
    "no JSON": (b"{", JSON),
    "empty": (b"", JSON),
    "1000 levels": (b"[" * 1000 + b"]" * 1000, JSON),
    "lone surrogate": (b'{"name": "\\ud800", "title": "\\ud800", "email": "\\ud800", "password": "\\ud800"}', JSON),
    "NaN": (b'{"score": NaN}', JSON),
    "10^400": (b'{"username": 1' + b"0" * 400 + b"}", JSON),
    "NUL": (
        b'{"username": "\\u0000", "name": "\\u0000", "title": "\\u0000", "email": "\\u0000", "password": "\\u0000"}',
        JSON,
    ),
    "duplicate keys": (b'{"is_public": 1, "is_public": 2}', JSON),
    "array": (b"[]", JSON),
    "number": (b"1", JSON),
    "another content type": (b"<a/>", "application/xml"),
    "no boundary": (PART, "multipart/form-data"),
    "no end": (PART[:30], FORM),
    "1001 parts": (PART * 1001 + b"--x--", FORM),
    "too large": (b'{"name": "' + b"x" * (1 << 16) + b'"}', JSON),
}
UNKNOWN = dict.fromkeys(("review_id", "merge_id", "passkey_id"), "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b")


@pytest.mark.parametrize("role", ["user", "admin"])
def test_malformed_body_gets_an_error_of_the_contract(site: Process, database: URL, role: str) -> None:
    base_url = f"http://{site.address}"
    document = httpx.get(f"{base_url}/openapi.json").json()
    account = new_account(database, role)
    values = {"name": "x", **UNKNOWN, **account.values}
    with httpx.Client(base_url=base_url, headers=account.headers) as client:
        problems = [
            problem
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if "requestBody" in operation
            for problem in _problems(client, method.upper(), path, values)
        ]
    assert problems == []


def _problems(client: httpx.Client, method: str, path: str, values: dict[str, Any]) -> Iterator[str]:
    """Send all bodies to an operation, and yield what is wrong with the responses."""
    for name, (content, content_type) in BODIES.items():
        headers = {"Content-Type": content_type}
        response = client.request(method, path.format(**values), content=content, headers=headers)
        is_error = 400 <= response.status_code < 500
        if not is_error or list(response.json())[:3] != ["code", "message", "details"]:
            yield f"{method} {path} {name}: {response.status_code} {response.text[:100]}"
