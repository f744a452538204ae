"""Reading of the providers of OpenID Connect: OIDC_<NAME>_ISSUER and the others, for any number of names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from kitsu.addresses import is_secure

_VARIABLE = re.compile(
    r"OIDC_(?P<name>[A-Z0-9]+(?:_[A-Z0-9]+)*?)_(?P<part>ISSUER|CLIENT_ID|CLIENT_SECRET|SCOPES|LABEL)"
)
_REQUIRED = ("ISSUER", "CLIENT_ID", "CLIENT_SECRET")


@dataclass(frozen=True)
class OIDCProvider:
    """A provider with which users sign in."""

    name: str  # in paths: lower case, with hyphens
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: str = "openid email"
    label: str = ""


def read_providers(
    texts: Mapping[str, str], problems: list[str], *, public_url: str | None
) -> tuple[OIDCProvider, ...]:
    """Return the providers by name, and add what is wrong to the problems."""
    found: dict[str, dict[str, str]] = {}
    for variable, text in texts.items():
        if match := _VARIABLE.fullmatch(variable):
            found.setdefault(match["name"], {})[match["part"]] = text
        elif variable.startswith("OIDC_"):
            problems.append(
                f"{variable} is no setting: a provider has OIDC_<NAME>_ISSUER, _CLIENT_ID, _CLIENT_SECRET, _SCOPES, "
                "and _LABEL."
            )
    if found and public_url is None:
        problems.append("PUBLIC_URL is not set: providers of OIDC_… send the browser back to it.")
    providers = []
    for name, values in sorted(found.items()):
        prefix = f"OIDC_{name}"
        if missing := [f"{prefix}_{part}" for part in _REQUIRED if part not in values]:
            problems.append(f"{', '.join(missing)} not set: a provider needs them.")
            continue
        if not is_secure(values["ISSUER"]):
            problems.append(
                f"{prefix}_ISSUER must be an https address without query, or an http address of this machine."
            )
        scopes = values.get("SCOPES", OIDCProvider.scopes).split()
        if "openid" not in scopes:
            problems.append(f"{prefix}_SCOPES must have openid, such as: openid email.")
        label = values.get("LABEL", name.replace("_", " ").title())
        url_name = name.lower().replace("_", "-")
        providers.append(
            OIDCProvider(
                url_name, values["ISSUER"], values["CLIENT_ID"], values["CLIENT_SECRET"], " ".join(scopes), label
            )
        )
    return tuple(providers)
