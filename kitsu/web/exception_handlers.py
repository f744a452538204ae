"""From an error to the answer."""

import re
from collections.abc import Mapping
from typing import Any

import structlog
from litestar import Request
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.types import ExceptionHandlersMap

from kitsu.db.errors import is_bad_value, is_unavailable
from kitsu.errors import (
    AppError,
    ErrorBody,
    ErrorDetail,
    InternalError,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedMediaType,
)
from kitsu.web.responses import JSONResponse

log = structlog.get_logger("kitsu.error")

_MISSING = re.compile(r"Missing required \w+ parameter '(\w+)'")


# What Litestar itself raises. Its 400s all say that the request has the wrong form, for which the contract has 422.
_BY_STATUS: Mapping[int, tuple[int, str, str]] = {
    400: (InvalidRequest.status, InvalidRequest.code, InvalidRequest.message),
    401: (401, Unauthorized.code, Unauthorized.message),
    404: (404, NotFound.code, NotFound.message),
    405: (405, "METHOD_NOT_ALLOWED", "Method not allowed"),
    413: (413, PayloadTooLarge.code, PayloadTooLarge.message),
    415: (415, UnsupportedMediaType.code, UnsupportedMediaType.message),
    503: (503, ServiceUnavailable.code, ServiceUnavailable.message),
}


def handle_app_error(_: Request[Any, Any, Any], error: AppError) -> JSONResponse[ErrorBody]:
    """An error that the domain or a guard raised."""
    details = [ErrorDetail(**detail) for detail in error.details or []] if isinstance(error, InvalidRequest) else []
    return _answer(error.status, error.code, error.message, details, error.headers)


def handle_http_error(request: Request[Any, Any, Any], error: HTTPException) -> JSONResponse[ErrorBody]:
    """An error that Litestar raised: routing, decoding, validation."""
    known = _BY_STATUS.get(error.status_code)
    if known is None:
        return handle_unexpected(request, error)
    details = _details(error) if isinstance(error, ValidationException) else []
    return _answer(*known, details, dict(error.headers or {}))


def handle_unexpected(_: Request[Any, Any, Any], error: Exception) -> JSONResponse[ErrorBody]:
    """Anything else: the database is away, or a bug."""
    if is_unavailable(error):
        log.warning("service unavailable", error=type(error).__name__, exc_info=error)
        return handle_app_error(_, ServiceUnavailable())
    if is_bad_value(error) or isinstance(error, (SerializationException, RecursionError, UnicodeError)):
        return handle_app_error(_, InvalidRequest())
    log.error("internal error", error=type(error).__name__, exc_info=error)
    return handle_app_error(_, InternalError())


def error_answer(request: Request[Any, Any, Any], error: Exception) -> JSONResponse[ErrorBody]:
    """The answer to a request whose handling ended in an error."""
    if isinstance(error, AppError):
        return handle_app_error(request, error)
    if isinstance(error, HTTPException):
        return handle_http_error(request, error)
    return handle_unexpected(request, error)


def _details(error: ValidationException) -> list[ErrorDetail]:
    # Of a parameter that is missing Litestar says the name in its message alone.
    if missing := _MISSING.match(error.detail):
        return [ErrorDetail(field=missing[1], message="Missing")]
    extra = error.extra if isinstance(error.extra, list) else []
    return [
        ErrorDetail(field=str(item.get("key", "")), message=str(item.get("message", "")))
        for item in extra
        if isinstance(item, dict)
    ]


def _answer(
    status: int, code: str, message: str, details: list[ErrorDetail], headers: Mapping[str, str]
) -> JSONResponse[ErrorBody]:
    return JSONResponse(ErrorBody(code, message, details or None), status_code=status, headers=headers)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    AppError: handle_app_error,
    HTTPException: handle_http_error,
    Exception: handle_unexpected,
}
