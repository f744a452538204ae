"""The errors of the contract, as exceptions with the status, code and message of their response.

The docstring of an error is the description of its response in `/openapi.json`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta


class ErrorDetail(msgspec.Struct):
    """What is wrong with one field of the request."""

    field: Annotated[str, Meta(description="The field, parameter or header.", examples=["limit"])]
    message: Annotated[str, Meta(description="What is wrong with it.", examples=["Expected `int` <= 100"])]


ErrorCode = Annotated[
    Literal[
        "VALIDATION_ERROR",
        "AUTH_ERROR",
        "SECOND_FACTOR_REQUIRED",
        "PERMISSION_DENIED",
        "EMAIL_NOT_VERIFIED",
        "REGISTRATION_CLOSED",
        "INVITATION_REQUIRED",
        "NOT_FOUND",
        "METHOD_NOT_ALLOWED",
        "REQUEST_TIMEOUT",
        "CONFLICT_ERROR",
        "PRECONDITION_FAILED",
        "PAYLOAD_TOO_LARGE",
        "UNSUPPORTED_MEDIA_TYPE",
        "RANGE_NOT_SATISFIABLE",
        "RATE_LIMITED",
        "INTERNAL_ERROR",
        "SERVICE_UNAVAILABLE",
    ],
    Meta(title="ErrorCode", description="The kind of error."),
]


class ErrorBody(msgspec.Struct):
    """The body of every error."""

    code: ErrorCode
    message: Annotated[str, Meta(description="The error in English, for developers.", examples=["Not found"])]
    details: Annotated[list[ErrorDetail] | None, Meta(description="What is wrong with which fields, on 422, or null.")]


class ChallengeBody(ErrorBody):
    """The body of a 401 after a right password, when the user has a second factor."""

    challenge: Annotated[
        str,
        Meta(
            description="For `POST /auth/login/second-factor`; present with the code `SECOND_FACTOR_REQUIRED`.",
            examples=["eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"],
        ),
    ]
    methods: Annotated[
        list[str],
        Meta(
            description="What the user can take for the second step: `totp`, `passkey`, `recovery_code`.",
            examples=[["totp", "recovery_code"]],
        ),
    ]


class AppError(Exception):
    """An error of the contract. Subclasses set its attributes in their class statement."""

    status: ClassVar[int]
    code: ClassVar[ErrorCode]
    message: str
    headers: Mapping[str, str] = MappingProxyType({})
    details: list[ErrorDetail] | None = None

    def __init_subclass__(cls, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(cls, name, value)

    def __init__(self, message: str | None = None) -> None:
        self.message = message or self.message
        super().__init__(self.message)

    def body(self) -> ErrorBody:
        """Return the body of the response."""
        return ErrorBody(self.code, self.message, self.details)


class BadRequest(AppError, status=400, code="VALIDATION_ERROR", message="Bad request"):
    """The request has the right form, but breaks a rule."""


class Unauthorized(AppError, status=401, code="AUTH_ERROR", message="Authentication failed"):
    """The token or the credentials are missing or invalid. The message never tells which part was wrong."""

    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class SecondFactorRequired(Unauthorized, code="SECOND_FACTOR_REQUIRED", message="A second factor is required"):
    """The credentials are right, and the login needs a second step."""

    def __init__(self, challenge: str, methods: list[str]) -> None:
        super().__init__()
        self.challenge, self.methods = challenge, methods

    def body(self) -> ErrorBody:
        """Return the body with the challenge of the second step."""
        return ChallengeBody(self.code, self.message, self.details, self.challenge, self.methods)


class Forbidden(AppError, status=403, code="PERMISSION_DENIED", message="Insufficient permissions"):
    """The client is known, but lacks the permission."""


class NotFound(AppError, status=404, code="NOT_FOUND", message="Not found"):
    """The path or the resource does not exist."""


class RequestTimeout(AppError, status=408, code="REQUEST_TIMEOUT", message="The request took too long"):
    """The client took too long to send the request."""

    headers = MappingProxyType({"Connection": "close"})


class Conflict(AppError, status=409, code="CONFLICT_ERROR", message="Conflict"):
    """The resource exists already, or the user has as many as allowed."""


class PreconditionFailed(
    AppError, status=412, code="PRECONDITION_FAILED", message="The condition of If-Match is not met"
):
    """The resource was changed after the client had read it, or exists although it must not."""


class PayloadTooLarge(AppError, status=413, code="PAYLOAD_TOO_LARGE", message="Payload too large"):
    """The body is larger than this path allows."""


class UnsupportedMediaType(AppError, status=415, code="UNSUPPORTED_MEDIA_TYPE", message="Unsupported media type"):
    """The path does not take bodies of this content type."""


class UnsupportedEncoding(UnsupportedMediaType):
    """The `Content-Encoding` of the body is not one that the service reads."""

    message = "Unsupported content encoding"
    headers = MappingProxyType({"Accept-Encoding": "gzip"})


class RangeNotSatisfiable(AppError, status=416, code="RANGE_NOT_SATISFIABLE", message="Range not satisfiable"):
    """The requested range begins behind the end."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.headers = {"Content-Range": f"bytes */{size}"}


class InvalidRequest(AppError, status=422, code="VALIDATION_ERROR", message="Request validation failed"):
    """The body, the path or the query has the wrong form; `details` names the fields."""

    def __init__(self, details: list[dict[str, str]] | None = None) -> None:
        super().__init__()
        self.details = [ErrorDetail(**detail) for detail in details] if details else None

    @classmethod
    def of(cls, *details: ErrorDetail) -> "InvalidRequest":
        """Return the error of these fields."""
        error = cls()
        error.details = [*details]
        return error


class RateLimited(AppError, status=429, code="RATE_LIMITED", message="Too many requests"):
    """The client sent too many requests of one kind."""

    def __init__(self, retry_after: int, message: str | None = None) -> None:
        super().__init__(message)
        self.headers = {"Retry-After": str(retry_after)}


class IncompleteBody(BadRequest, message="The body is incomplete or wrongly encoded"):
    """The client disconnected before the end of its body, or sent a malformed chunk."""


class InternalError(AppError, status=500, code="INTERNAL_ERROR", message="Internal server error"):
    """A bug; it is logged with the request id."""


class ServiceUnavailable(AppError, status=503, code="SERVICE_UNAVAILABLE", message="Service temporarily unavailable"):
    """The database or another part is unavailable; a later retry may succeed."""

    headers = MappingProxyType({"Retry-After": "2"})
