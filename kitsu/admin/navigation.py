"""The menu, the links between pages, and the texts that a page shows after a change."""

from typing import NamedTuple
from urllib.parse import urlencode

from litestar.response import Redirect

from kitsu.domain.accounts.permissions import Permission

PATH = "/admin"
"""Where the site is mounted. Paths of its pages are relative to it."""


class MenuItem(NamedTuple):
    path: str
    title: str
    permission: Permission = "edit:catalogue"


MENU = (
    MenuItem("/", "Start"),
    MenuItem("/collections", "Collections", "admin:*"),
    MenuItem("/users", "Users", "admin:*"),
    MenuItem("/audit", "Audit"),
)
NOTICES = {
    "collection-hidden": "The collection is private now.",
    "signed-out": "You are signed out.",
    "session-ended": "The session was ended.",
    "user-changed": "The user was changed.",
}
"""Texts by the value of `done` in the query: a link can't make the site show another text."""


def url(path: str, **query: str | int | None) -> str:
    """Return the URL of a page, with the parameters that have a value."""
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    return PATH + path + (f"?{urlencode(given)}" if given else "")


def see(path: str, done: str) -> Redirect:
    """Redirect to a page after a change, where a notice tells what was done."""
    return Redirect(url(path, done=done), status_code=303)
