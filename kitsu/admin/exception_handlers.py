"""The pages of errors."""

from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, PermissionDeniedException
from litestar.response import Template
from litestar.types import ExceptionHandlersMap

from kitsu.admin.navigation import CSRF_COOKIE, PATH
from kitsu.errors import AppError
from kitsu.observability.logs import of_request
from kitsu.web.exception_handlers import handle_app_error, handle_http_error, handle_unexpected

_TEXTS = {
    403: ("No access", "Your account does not have the permission for this page. Nothing was changed."),
    404: ("Not found", "There is nothing at this address. It may have been deleted."),
    405: ("Not possible", "This address does not take such requests. Nothing was changed."),
    412: ("Changed meanwhile", "Someone changed this after you opened the page. Nothing was changed."),
    413: ("Too large", "The file or the text is larger than this page takes. Nothing was changed."),
    422: ("Not valid", "The request has a value that is not valid. Nothing was changed."),
    500: ("Internal error", "This is a bug, which was logged."),
    503: ("Unavailable", "The database or another part does not respond. Try again in a moment."),
}
_FORGED = "The form is from an earlier session or from another site. Nothing was changed. Open the page again."


def handle_failure(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Return the page of any error, with the status and the headers that the API would send."""
    if isinstance(error, PermissionDeniedException):  # of Litestar's CSRF middleware
        response: Response[Any] = _page(request, 403, "Form refused", _FORGED)
        # A new token: one that is damaged would make every form fail.
        response.delete_cookie(CSRF_COOKIE, path=PATH)
        return response
    if isinstance(error, AppError):
        answer = handle_app_error(request, error)
    elif isinstance(error, HTTPException):
        answer = handle_http_error(request, error)
    else:
        answer = handle_unexpected(request, error)
    status = answer.status_code or 500
    title, text = _TEXTS.get(status, (HTTPStatus(status).phrase, f"{answer.content.message}. Nothing was changed."))
    if status in {400, 404, 409} and isinstance(error, AppError):
        text = f"{answer.content.message}."
    headers = {name: value for name, value in answer.headers.items() if name.lower() != "www-authenticate"}
    details = answer.content.details or []
    return _page(request, status, title, text, details=[f"{each.field}: {each.message}" for each in details], **headers)


def _page(
    request: Request[Any, Any, Any],
    status: int,
    title: str,
    text: str,
    details: list[str] | None = None,
    **headers: str,
) -> Template:
    request.scope.setdefault("user", None)
    request_id = of_request.get().get("request_id", "")
    context = {"title": title, "text": text, "details": details or [], "status": status, "request_id": request_id}
    return Template("error.html", context=context, status_code=status, headers=headers)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {Exception: handle_failure, HTTPException: handle_failure}
