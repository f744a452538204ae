"""Checks of settings that protect accounts and data."""

from sqlalchemy.engine import URL

from kitsu.cli.checks.registry import Problem, Tag, check
from kitsu.settings import Settings

MIN_DISTINCT_CHARACTERS = 10
"""A random key of 32 bytes has more distinct characters; a repeated word has fewer."""
MIN_LOGIN_REFUSAL_MS = 500


@check("kitsu.E401", Tag.SECURITY, Tag.SETTINGS, deploy=True)
def secret_key(settings: Settings) -> list[Problem]:
    """Report a key that can be guessed."""
    problem = Problem("SECRET_KEY does not look random.", "Generate one with `openssl rand -hex 32`.")
    return [problem] if len(set(settings.secret_key)) < MIN_DISTINCT_CHARACTERS else []


@check("kitsu.E402", Tag.SECURITY, Tag.SETTINGS, deploy=True)
def debug(settings: Settings) -> list[Problem]:
    """Report DEBUG."""
    problem = Problem("DEBUG is on: every statement is logged with its values.", "Set DEBUG=false.")
    return [problem] if settings.debug else []


@check("kitsu.E403", Tag.SECURITY, Tag.SETTINGS, deploy=True)
def rate_limits(settings: Settings) -> list[Problem]:
    """Report rate limits that are off."""
    problem = Problem("RATE_LIMIT_ENABLED is off: passwords can be guessed.", "Set RATE_LIMIT_ENABLED=true.")
    return [problem] if not settings.rate_limit_enabled else []


@check("kitsu.W404", Tag.SECURITY, Tag.SETTINGS, deploy=True)
def common_passwords(settings: Settings) -> list[Problem]:
    """Report that common passwords are accepted."""
    problem = Problem(
        "REFUSE_COMMON_PASSWORDS is off: users can choose passwords that attackers try first.",
        "Set REFUSE_COMMON_PASSWORDS=true.",
    )
    return [problem] if not settings.refuse_common_passwords else []


@check("kitsu.W405", Tag.SECURITY, Tag.SETTINGS, deploy=True)
def login_refusal(settings: Settings) -> list[Problem]:
    """Report a login refusal whose duration tells whether the account exists."""
    problem = Problem(
        f"LOGIN_REFUSAL_MS is below {MIN_LOGIN_REFUSAL_MS}: the check of an old password takes longer.",
        "Set LOGIN_REFUSAL_MS=1000.",
    )
    return [problem] if settings.login_refusal_ms < MIN_LOGIN_REFUSAL_MS else []


@check("kitsu.W406", Tag.SECURITY, Tag.SETTINGS, deploy=True)
def no_trusted_proxies(settings: Settings) -> list[Problem]:
    """Report an empty TRUSTED_PROXIES."""
    problem = Problem(
        "TRUSTED_PROXIES is not set: behind a proxy all clients share one address and its rate limits.",
        "Set it to the address of the proxy.",
    )
    return [problem] if not settings.trusted_proxies else []


@check("kitsu.E407", Tag.SECURITY, Tag.SETTINGS, deploy=True)
def all_proxies_trusted(settings: Settings) -> list[Problem]:
    """Report a TRUSTED_PROXIES that trusts every address."""
    problem = Problem(
        "TRUSTED_PROXIES trusts every address: any client can claim any address.", "Set it to the proxies alone."
    )
    return [problem] if any(network.endswith("/0") for network in settings.trusted_proxies) else []


@check("kitsu.W408", Tag.SECURITY, Tag.SETTINGS, deploy=True)
def origins_without_tls(settings: Settings) -> list[Problem]:
    """Report an allowed origin with the scheme http."""
    problem = Problem("ALLOWED_ORIGINS has an origin without TLS.", "Use https origins only.")
    return [problem] if any(origin.startswith("http://") for origin in settings.allowed_origins) else []


@check("kitsu.E409", Tag.SECURITY, Tag.DATABASE, Tag.SETTINGS, deploy=True)
def database_without_tls(settings: Settings) -> list[Problem]:
    """Report a database that is reached over a network without TLS."""
    problem = Problem(
        "The database is reached over a network without TLS.",
        "Add ?ssl=verify-full&sslrootcert=FILE to DATABASE_URL.",
    )
    return [problem] if _is_unencrypted(settings.database_url) else []


def _is_unencrypted(url: URL | None) -> bool:
    # A host without a dot is this machine, or in a network of containers on it.
    if url is None or url.host is None or "." not in url.host or url.host == "127.0.0.1":
        return False
    return str(url.query.get("ssl", "prefer")) in {"disable", "allow", "prefer"}
