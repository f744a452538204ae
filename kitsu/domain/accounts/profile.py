"""What users change of their own account, beside the avatar."""

import re
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from kitsu.domain.fields import described
from kitsu.domain.timezones import timezones
from kitsu.errors import InvalidRequest

USERNAME = r"^[A-Za-z0-9_-]{3,32}$"

Timezone = Annotated[str, described("An IANA time zone: the days of the library are days there.", "Asia/Tokyo")]
IsPublic = Annotated[bool, described("Whether everyone may see the profile and the library, under `/profiles`.")]


class ProfileChange(msgspec.Struct, frozen=True, kw_only=True):
    """Changes of the current user. Omitted fields keep their value."""

    username: str | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    is_public: bool | UnsetType = UNSET

    def check(self) -> None:
        """Raise InvalidRequest for values that are not allowed."""
        wrong = []
        if self.username is not UNSET and not re.fullmatch(USERNAME, self.username):
            message = "Must be 3 to 32 letters, digits, underscores or hyphens"
            wrong.append({"field": "username", "message": message})
        if self.timezone is not UNSET and self.timezone not in timezones():
            wrong.append({"field": "timezone", "message": "Expected an IANA time zone, such as Europe/Berlin"})
        if wrong:
            raise InvalidRequest(wrong)
