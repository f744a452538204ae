"""The parts of accounts, by the settings."""

from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pkgutil import resolve_name

from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.access_tokens import AccessTokens
from kitsu.domain.accounts.admin_sessions import admin_tokens
from kitsu.domain.accounts.challenges import Challenges
from kitsu.domain.accounts.context import AccountContext, SecondFactorRules
from kitsu.domain.accounts.login_limits import LoginLimiter
from kitsu.domain.accounts.login_rules import LoginPolicies
from kitsu.domain.accounts.oidc_flows import OIDCFlows
from kitsu.domain.accounts.passwords import PasswordHasher
from kitsu.domain.accounts.sessions import SessionRules
from kitsu.domain.accounts.totp import TotpVault
from kitsu.domain.accounts.webauthn import RelyingParty
from kitsu.domain.media.orphans import OrphanFiles
from kitsu.domain.rate_limits import Policy, RateLimiter
from kitsu.settings import Settings


def oidc_flows(settings: Settings, runner: StatementRunner) -> OIDCFlows:
    """Return the sign-in with the providers of the settings."""
    # By name, as a web worker without a provider does without its libraries.
    module = "kitsu.domain.accounts.openid:OpenIDProvider"
    return OIDCFlows(
        runner,
        [resolve_name(module)(**asdict(each)) for each in settings.oidc_providers],
        secret_key=settings.secret_key,
        public_url=settings.public_url or "",
        front_end_url=settings.frontend_url,
    )


def account_context(
    settings: Settings, engine: AsyncEngine, runner: StatementRunner, orphans: OrphanFiles
) -> AccountContext:
    """Return what the services of accounts need, by the settings."""
    logins = LoginPolicies(
        Policy("login", *settings.rate_limit_login),
        Policy("login-address", *settings.rate_limit_login_address),
        Policy("login-account", *settings.rate_limit_login_account),
    )
    policies = [
        Policy("second-factor", *settings.rate_limit_second_factor),
        Policy("register", *settings.rate_limit_register),
        Policy("refresh", *settings.rate_limit_refresh),
        Policy("oidc", *settings.rate_limit_oidc),
        Policy("search", *settings.rate_limit_search),
        Policy("suggest", *settings.rate_limit_suggest),
        Policy("avatar", *settings.rate_limit_avatar),
        Policy("session", *settings.rate_limit_session),
        Policy("idempotency", *settings.rate_limit_idempotency),
        Policy("mail", *settings.rate_limit_mail),
        Policy("mail-address", *settings.rate_limit_mail_address),
    ]
    lifetime = timedelta(days=settings.refresh_token_expire_days)
    challenges = partial(Challenges, settings.secret_key, settings.algorithm)
    return AccountContext(
        runner=runner,
        hasher=PasswordHasher(threads=settings.password_threads, queue=settings.password_queue),
        limiter=RateLimiter(runner, policies, enabled=settings.rate_limit_enabled),
        login_limits=LoginLimiter(engine, runner, logins, enabled=settings.rate_limit_enabled),
        access_tokens=AccessTokens(
            secret_key=settings.secret_key, algorithm=settings.algorithm, minutes=settings.access_token_expire_minutes
        ),
        admin_tokens=admin_tokens(settings.secret_key, settings.algorithm),
        session_rules=SessionRules(
            lifetime=lifetime,
            leeway=timedelta(seconds=settings.refresh_leeway_seconds),
            same_child=settings.refresh_retry == "same",
            secret_key=settings.secret_key,
            max_sessions=settings.max_sessions,
            max_tokens=max(
                settings.max_refresh_tokens, 2 * lifetime // timedelta(minutes=settings.access_token_expire_minutes)
            ),
        ),
        orphans=orphans,
        media_url=settings.media_public_url or (f"{settings.public_url}/media" if settings.public_url else None),
        refusal_seconds=settings.login_refusal_ms / 1000,
        refuse_common_passwords=settings.refuse_common_passwords,
        registration=settings.registration,
        require_verified_email=settings.require_verified_email,
        mail_is_set_up=settings.mail_url.is_set_up,
        notify_security_events=settings.sends_notices,
        second_factors=SecondFactorRules(
            vault=TotpVault(settings.secret_key),
            party=RelyingParty(*settings.relying_party, settings.app_name),
            challenges=challenges("second-factor"),
            new_passkeys=challenges("new-passkey"),
            passkey_sign_ins=challenges("passkey-sign-in"),
            issuer=settings.app_name,
        ),
    )
