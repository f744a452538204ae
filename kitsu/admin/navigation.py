"""The menu, the links between pages, and the texts that a page shows after a change."""

from typing import NamedTuple
from urllib.parse import urlencode

from litestar.response import Redirect

from kitsu.domain.accounts.permissions import Permission

PATH = "/admin"
"""Where the site is mounted. Paths of its pages are relative to it."""
CSRF_COOKIE = "kitsu_admin_csrf"


class MenuItem(NamedTuple):
    path: str
    title: str
    permission: Permission = "edit:catalogue"


MENU = (
    MenuItem("/", "Start"),
    MenuItem("/anime", "Anime"),
    MenuItem("/imports", "Imports"),
    MenuItem("/reviews", "Reviews"),
    MenuItem("/merges", "Merges"),
    MenuItem("/collections", "Collections", "admin:*"),
    MenuItem("/users", "Users", "admin:*"),
    MenuItem("/audit", "Audit"),
    MenuItem("/jobs", "Jobs", "admin:*"),
)
NOTICES = {
    "collection-hidden": "The collection is private now.",
    "second-factor-off": "The second factor was turned off.",
    "second-factor-changed": "The second factor was changed.",
    "signed-out": "You are signed out.",
    "reset-mail-sent": "A mail with a link to reset the password is on its way.",
    "second-factor-reset": "The second factor was removed. Until the user sets it up again, the password is enough.",
    "session-ended": "The session was ended.",
    "sessions-ended": "All sessions were ended.",
    "anime-added": "The anime was added.",
    "anime-changed": "The anime was saved. Imports leave the changed fields alone.",
    "anime-deleted": "The anime was deleted. Its history is here; revert the deletion to restore it.",
    "anime-merged": "The anime were merged. You can undo it for 30 days under Merges.",
    "anime-split": "The new anime was added.",
    "anime-was-merged": "The anime was merged into this one.",
    "change-reverted": "The change was reverted.",
    "episode-added": "The episode was added.",
    "episode-changed": "The episode was saved.",
    "episode-deleted": "The episode was deleted.",
    "file-uploaded": "The file is stored.",
    "import-started": "The import has started.",
    "import-discarded": "The file was deleted. Nothing was imported.",
    "job-retried": "The job waits for a worker again.",
    "field-given-back": "The field has the value of the last import again.",
    "merge-undone": "The merge was undone.",
    "release-added": "The release was added.",
    "release-changed": "The release was saved.",
    "release-deleted": "The release was deleted.",
    "review-apply": "Done as the file says.",
    "review-keep": "Nothing was changed. Imports do not ask again.",
    "user-invited": "The invitation was issued. Its link is below.",
    "invitation-revoked": "The invitation was revoked.",
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
