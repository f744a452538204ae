"""Checks of several fields of one request."""

from collections.abc import Callable
from typing import Any

from kitsu.errors import ErrorDetail, InvalidRequest


def check_all(*checks: Callable[[], Any]) -> list[Any]:
    """Return what the checks return. Raises InvalidRequest with the details of all that fail."""
    results, details = [], list[ErrorDetail]()
    for check in checks:
        try:
            results.append(check())
        except InvalidRequest as error:
            details += error.details or []
    if details:
        raise InvalidRequest.of(*details)
    return results
