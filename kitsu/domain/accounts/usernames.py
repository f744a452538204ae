"""Usernames: their form, and the reserved ones."""

import re

from kitsu.errors import InvalidRequest

USERNAME = r"^[A-Za-z0-9_-]{3,32}$"
_WORDS = """
abuse account accounts admin administration administrator anonymous api app auth billing bot collections contact deleted
docs everyone favorites feedback ftp guest health help helpdesk hostmaster imap info kitsu legal library localhost login
logout mail me media metrics mod moderation moderator noreply null official owner password pop postmaster privacy
register releases root sales search security self service settings signin signup smtp staff status superuser support
sysadmin system team terms undefined unknown user username users verified views watch webmaster www
"""
RESERVED = frozenset(_WORDS.split())
"""Names that visitors would take for the service's own, or that may become paths; in lower case, without separators."""
_SEPARATORS = re.compile("[_-]")


def is_allowed(username: str) -> bool:
    """Return whether a user may choose this name. Case and separators don't make a reserved name another one."""
    return bool(re.fullmatch(USERNAME, username)) and _SEPARATORS.sub("", username.lower()) not in RESERVED


def check_username(username: str) -> None:
    """Raise InvalidRequest for a name that is not allowed."""
    if not re.fullmatch(USERNAME, username):
        message = "Must be 3 to 32 letters, digits, underscores or hyphens"
        raise InvalidRequest([{"field": "username", "message": message}])
    if not is_allowed(username):
        raise InvalidRequest([{"field": "username", "message": "Is a reserved name"}])
