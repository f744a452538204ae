"""What users change of their own account, beside the avatar."""

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from kitsu.domain.accounts.usernames import check_username
from kitsu.domain.checks import check_all
from kitsu.domain.fields import described
from kitsu.domain.timezones import timezones
from kitsu.errors import InvalidRequest

Timezone = Annotated[str, described("An IANA time zone: the days of the library are days there.", "Asia/Tokyo")]
IsPublic = Annotated[bool, described("Whether everyone may see the profile and the library, under `/profiles`.")]


class ProfileChange(msgspec.Struct, frozen=True, kw_only=True):
    """Changes of the current user. Omitted fields keep their value."""

    username: str | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    is_public: bool | UnsetType = UNSET

    def check(self) -> None:
        """Raise InvalidRequest for values that are not allowed."""
        check_all(self._check_username, self._check_timezone)

    def _check_username(self) -> None:
        if self.username is not UNSET:
            check_username(self.username)

    def _check_timezone(self) -> None:
        if self.timezone is not UNSET and self.timezone not in timezones():
            message = "Expected an IANA time zone, such as Europe/Berlin"
            raise InvalidRequest([{"field": "timezone", "message": message}])
