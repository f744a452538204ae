"""The responses to errors."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.types import ExceptionHandlersMap

from kitsu.db.errors import cause_of, is_bad_value, is_unavailable, place_of
from kitsu.errors import AppError, ErrorBody, ErrorCode, ErrorDetail, InternalError, InvalidRequest, ServiceUnavailable
from kitsu.observability.bursts import BurstLog
from kitsu.web.validation import all_details

UNSTORABLE = "The database can't store a value; a text must not contain NUL"

log = structlog.get_logger("kitsu.error")
burst_log = BurstLog(log)

# Litestar has 400 for requests of the wrong form, the contract 422. A 500 of Litestar is a bug, to be logged.
_BY_STATUS: Mapping[int, type[AppError]] = {
    **{kind.status: kind for kind in AppError.__subclasses__() if kind is not InternalError},
    400: InvalidRequest,
}


def handle_app_error(_: Request[Any, Any, Any], error: AppError) -> Response[ErrorBody]:
    """Return the response to an error of the domain or a guard."""
    return _response(error.status, error.body(), error.headers)


def handle_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorBody]:
    """Return the response to an error of Litestar's routing, decoding or validation."""
    details = _details(request, error) if isinstance(error, ValidationException) else None
    headers = error.headers or {}
    if kind := _BY_STATUS.get(error.status_code):
        return _response(kind.status, ErrorBody(kind.code, kind.message, details), {**kind.headers, **headers})
    if error.status_code >= 500:
        return handle_unexpected(request, error)
    known = HTTPStatus(error.status_code)
    return _response(known, ErrorBody(cast("ErrorCode", known.name), known.phrase.capitalize(), details), headers)


def handle_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """Return the response to any other error: the database is away, a value is not valid, or there is a bug."""
    if is_unavailable(error):
        name, cause, where = type(error).__name__, cause_of(error), place_of(error)
        burst_log.warning("service unavailable", error=name, cause=cause, where=where)
        return handle_app_error(request, ServiceUnavailable())
    if is_bad_value(error) or isinstance(error, UnicodeError):
        return handle_app_error(request, InvalidRequest.of(ErrorDetail("", UNSTORABLE)))
    if isinstance(error, (SerializationException, RecursionError)):
        return handle_app_error(request, InvalidRequest())
    log.error("internal error", error=type(error).__name__, exc_info=error)
    return handle_app_error(request, InternalError())


def _details(request: Request[Any, Any, Any], error: ValidationException) -> list[ErrorDetail] | None:
    found = all_details(request)
    if found:
        return found
    extra = error.extra if isinstance(error.extra, list) else []
    return [
        ErrorDetail(str(item.get("key", "")), str(item.get("message", ""))) for item in extra if isinstance(item, dict)
    ] or None


def _response(status: int, body: ErrorBody, headers: Mapping[str, str]) -> Response[ErrorBody]:
    return Response(body, status_code=status, headers=headers, media_type=MediaType.JSON)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    AppError: handle_app_error,
    HTTPException: handle_http_error,
    Exception: handle_unexpected,
}
