"""What can go wrong, as exceptions that carry their HTTP status, code and message.

    AppError
    ├── BadRequest           400  a domain rule is broken
    ├── Unauthorized         401  who is asking could not be established
    ├── Forbidden            403  known, but not allowed
    ├── NotFound             404
    ├── RequestTimeout       408  whoever asks takes too long to say what
    ├── Conflict             409  it exists already
    ├── PreconditionFailed   412  another device was faster
    ├── PayloadTooLarge      413
    ├── UnsupportedMediaType 415
    ├── RangeNotSatisfiable  416
    ├── InvalidRequest       422  body, path or query of the wrong form
    ├── RateLimited          429
    ├── ClientGone           499  whoever asked hung up meanwhile
    ├── InternalError        500  a bug
    └── ServiceUnavailable   503  a part that the answer needs is away

Raised in the domain and by guards only; `exception_handlers` turns them into answers. Imports nothing of Kitsu.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import msgspec


class AppError(Exception):
    """An error that is part of the contract: what a client may be told, and nothing else."""

    status: ClassVar[int]
    code: ClassVar[str]
    message: str
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str | None = None) -> None:
        if message is not None:
            self.message = message
        super().__init__(self.message)


class BadRequest(AppError):
    """A rule of the domain is broken, though the request has the right form."""

    status = 400
    code = "VALIDATION_ERROR"
    message = "Bad request"


class Unauthorized(AppError):
    """No identity, or a doubtful one. The message is fixed: it never tells which part was wrong."""

    status = 401
    code = "AUTH_ERROR"
    message = "Authentication failed"
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class Forbidden(AppError):
    """The identity is known and lacks the permission."""

    status = 403
    code = "PERMISSION_DENIED"
    message = "Insufficient permissions"


class NotFound(AppError):
    """No such path or resource."""

    status = 404
    code = "NOT_FOUND"
    message = "Not found"


class Conflict(AppError):
    """It exists already."""

    status = 409
    code = "CONFLICT_ERROR"
    message = "Conflict"


class PreconditionFailed(AppError):
    """What the client knows of the thing is out of date."""

    status = 412
    code = "PRECONDITION_FAILED"
    message = "It was changed meanwhile"


class PayloadTooLarge(AppError):
    """A body with more in it than this path takes."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"
    message = "Payload too large"


class UnsupportedMediaType(AppError):
    """A body of a kind that this path does not take."""

    status = 415
    code = "UNSUPPORTED_MEDIA_TYPE"
    message = "Unsupported media type"


class RangeNotSatisfiable(AppError):
    """The range that was asked for begins behind the end."""

    status = 416
    code = "RANGE_NOT_SATISFIABLE"
    message = "Range not satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.headers = {"Content-Range": f"bytes */{size}"}


class InvalidRequest(AppError):
    """Body, path or query of the wrong form; `details` names the fields."""

    status = 422
    code = "VALIDATION_ERROR"
    message = "Request validation failed"

    def __init__(self, details: list[dict[str, str]] | None = None) -> None:
        super().__init__()
        self.details = details


class RateLimited(AppError):
    """Too many requests of one kind."""

    status = 429
    code = "RATE_LIMITED"
    message = "Too many requests"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.headers = {"Retry-After": str(retry_after)}


class RequestTimeout(AppError):
    """Whoever asks takes too long to say what."""

    status = 408
    code = "REQUEST_TIMEOUT"
    message = "The request took too long"
    headers = MappingProxyType({"Connection": "close"})


class ClientGone(AppError):
    """Whoever asked hung up before the request was whole; nobody gets this answer, it is what the log says."""

    status = 499
    code = "CLIENT_GONE"
    message = "The client hung up"


class InternalError(AppError):
    """A bug; it is logged with the request id."""

    status = 500
    code = "INTERNAL_ERROR"
    message = "Internal server error"


class ServiceUnavailable(AppError):
    """The database or another part is away; the same request may succeed in a moment."""

    status = 503
    code = "SERVICE_UNAVAILABLE"
    message = "Service temporarily unavailable"
    headers = MappingProxyType({"Retry-After": "2"})


class ErrorDetail(msgspec.Struct):
    """What is wrong with one field of the request."""

    field: str
    message: str


class ErrorBody(msgspec.Struct):
    """The body of every error."""

    code: str
    message: str
    details: list[ErrorDetail] | None
