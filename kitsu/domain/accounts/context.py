"""What the services of accounts share for all requests."""

from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.access_tokens import AccessTokens
from kitsu.domain.accounts.challenges import Challenges
from kitsu.domain.accounts.login_limits import LoginLimiter
from kitsu.domain.accounts.passwords import PasswordHasher
from kitsu.domain.accounts.sessions import SessionRules
from kitsu.domain.accounts.totp import TotpVault
from kitsu.domain.accounts.webauthn import RelyingParty
from kitsu.domain.outcomes import Outcomes
from kitsu.domain.rate_limits import RateLimiter
from kitsu.errors import RateLimited, SecondFactorRequired, ServiceUnavailable, Unauthorized


class OrphanNotes(Protocol):
    """Files that lose their user: `OrphanFiles` of the app `media`, which this app can't import."""

    async def note(self, session: AsyncSession, path: str) -> None: ...
    async def tidy(self, path: str) -> None: ...


@dataclass(frozen=True)
class SecondFactorRules:
    """What second factors need."""

    vault: TotpVault
    party: RelyingParty
    challenges: Challenges
    """Of logins that wait for their second step."""
    new_passkeys: Challenges
    passkey_sign_ins: Challenges
    issuer: str  # the name of this service in authenticator apps


@dataclass(frozen=True)
class AccountContext:
    """What the services of accounts share for all requests."""

    runner: StatementRunner
    hasher: PasswordHasher
    limiter: RateLimiter
    login_limits: LoginLimiter
    access_tokens: AccessTokens
    admin_tokens: AccessTokens
    session_rules: SessionRules
    orphans: OrphanNotes
    media_url: str | None  # base URL of the media store for browsers; None: `/media` of the host that a request names
    refusal_seconds: float
    """Duration of each refused login, so that its time does not tell how the password is stored."""
    refuse_common_passwords: bool
    notify_security_events: bool
    registration: str
    """`open`, `invite` or `closed`."""
    mail_is_set_up: bool
    require_verified_email: bool
    second_factors: SecondFactorRules
    logins: Outcomes = field(
        default_factory=lambda: Outcomes(
            "success",
            second_factor=SecondFactorRequired,
            wrong=Unauthorized,
            limited=RateLimited,
            busy=ServiceUnavailable,
        )
    )
