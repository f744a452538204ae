"""Checks of what sign-ins need."""

import asyncio
from pkgutil import resolve_name

from kitsu.cli.checks.registry import Tag, check
from kitsu.settings import Settings

_HINT = "Correct OIDC_<NAME>_ISSUER, or let this machine reach the provider."


@check("kitsu.E601", Tag.ACCOUNTS, deploy=True, hint=_HINT)
async def sign_in_providers(settings: Settings) -> list[str]:
    providers = settings.oidc_providers
    if not providers:
        return []
    # By name, as commands without a provider do without its libraries.
    problem_of = resolve_name("kitsu.domain.accounts.openid_client:problem_of")
    problems = await asyncio.gather(*(problem_of(provider.issuer) for provider in providers))
    found = zip(providers, problems, strict=True)
    return [f"Users can't sign in with {provider.name}: {problem}." for provider, problem in found if problem]
