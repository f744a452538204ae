"""From an error to the answer."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.types import ExceptionHandlersMap

from kitsu.db.errors import is_bad_value, is_unavailable
from kitsu.errors import AppError, BadRequest, ErrorBody, ErrorDetail, InternalError, InvalidRequest, ServiceUnavailable

log = structlog.get_logger("kitsu.error")

_MISSING = re.compile(r"Missing required \w+ parameter '(\w+)'")


# What Litestar itself raises. Its 400s all say that the request has the wrong form, for which the contract has 422.
_BY_STATUS: Mapping[int, type[AppError]] = {
    400: InvalidRequest,
    **{kind.status: kind for kind in AppError.__subclasses__() if kind is not BadRequest},
}


def handle_app_error(_: Request[Any, Any, Any], error: AppError) -> Response[ErrorBody]:
    """An error that the domain or a guard raised."""
    details = [ErrorDetail(**detail) for detail in error.details or []] if isinstance(error, InvalidRequest) else []
    return _answer(error.status, error.code, error.message, details, error.headers)


def handle_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorBody]:
    """An error that Litestar raised: routing, decoding, validation."""
    details = _details(error) if isinstance(error, ValidationException) else []
    headers = dict(error.headers or {})
    if kind := _BY_STATUS.get(error.status_code):
        return _answer(kind.status, kind.code, kind.message, details, {**kind.headers, **headers})
    if error.status_code >= 500:
        return handle_unexpected(request, error)
    known = HTTPStatus(error.status_code)
    return _answer(known.value, known.name, known.phrase.capitalize(), details, headers)


def handle_unexpected(_: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """Anything else: the database is away, or a bug."""
    if is_unavailable(error):
        log.warning("service unavailable", error=type(error).__name__, exc_info=error)
        return handle_app_error(_, ServiceUnavailable())
    if is_bad_value(error) or isinstance(error, (SerializationException, RecursionError, UnicodeError)):
        return handle_app_error(_, InvalidRequest())
    log.error("internal error", error=type(error).__name__, exc_info=error)
    return handle_app_error(_, InternalError())


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
) -> Response[ErrorBody]:
    return Response(
        ErrorBody(code, message, details or None), status_code=status, headers=headers, media_type=MediaType.JSON
    )


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    AppError: handle_app_error,
    HTTPException: handle_http_error,
    Exception: handle_unexpected,
}
