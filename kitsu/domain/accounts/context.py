"""What the services of accounts share for all requests of a process."""

from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.access_tokens import AccessTokens
from kitsu.domain.accounts.passwords import PasswordHasher
from kitsu.domain.accounts.sessions import SessionRules, SessionService
from kitsu.domain.outcomes import Outcomes
from kitsu.domain.rate_limits import RateLimiter
from kitsu.errors import RateLimited, ServiceUnavailable, Unauthorized


class Orphans(Protocol):
    """Files of the media store that lose their user; implemented by the app `media`."""

    async def note(self, session: AsyncSession, path: str) -> None:
        """Note a file that loses its user, in the caller's transaction."""

    async def tidy(self, path: str) -> None:
        """Delete a noted file, if that is quickly done."""


@dataclass(frozen=True)
class AccountContext:
    """Collaborators and rules of the services of accounts."""

    runner: StatementRunner
    hasher: PasswordHasher
    limiter: RateLimiter
    access_tokens: AccessTokens
    session_rules: SessionRules
    orphans: Orphans
    media_url: str
    """Where browsers find the media store, without a slash at its end."""
    refusal_seconds: float
    """Every refused login takes so long, so that its time does not tell how the password is stored."""
    refuse_common_passwords: bool
    logins: Outcomes = field(
        default_factory=lambda: Outcomes("success", wrong=Unauthorized, limited=RateLimited, busy=ServiceUnavailable)
    )

    def sessions(self, session: AsyncSession) -> SessionService:
        """Return the service of sessions in the transaction of this session."""
        return SessionService(session, access_tokens=self.access_tokens, rules=self.session_rules)
