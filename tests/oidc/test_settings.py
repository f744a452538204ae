"""Settings of providers: accepted and refused values, and the memory of a service without one."""

import subprocess
import sys
from pathlib import Path

import pytest

from kitsu.settings import SettingsError, load_settings
from kitsu.settings.oidc import OIDCProvider

VALID = {
    "SECRET_KEY": "k" * 32,
    "DATABASE_URL": "postgresql+asyncpg://kitsu:pw@db.example/kitsu",
    "PUBLIC_URL": "https://api.example.org",
    "OIDC_BIG_CO_ISSUER": "https://login.example.org/realm",
    "OIDC_BIG_CO_CLIENT_ID": "kitsu",
    "OIDC_BIG_CO_CLIENT_SECRET": "a secret value",
}


def providers(**environ: str) -> tuple[OIDCProvider, ...]:
    return load_settings(VALID | environ, Path("/nonexistent/.env")).oidc_providers


def test_a_provider_has_a_name_a_label_and_scopes() -> None:
    (found,) = providers()
    assert (found.name, found.label, found.scopes) == ("big-co", "Big Co", "openid email")
    assert found.issuer == "https://login.example.org/realm"
    assert "a secret value" not in repr(found)
    (found,) = providers(OIDC_BIG_CO_LABEL="The Big Company", OIDC_BIG_CO_SCOPES="openid  email profile")
    assert (found.label, found.scopes) == ("The Big Company", "openid email profile")


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:8080", "http://localhost:8080/realm", "http://[::1]:8080"])
def test_an_issuer_on_this_machine_may_be_http(issuer: str) -> None:
    assert providers(OIDC_BIG_CO_ISSUER=issuer)[0].issuer == issuer


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OIDC_BIG_CO_CLIENT_ID": ""}, "OIDC_BIG_CO_CLIENT_ID not set"),
        ({"OIDC_BIG_CO_ISSUER": "http://login.example.org"}, "OIDC_BIG_CO_ISSUER must be an https address"),
        ({"OIDC_BIG_CO_ISSUER": "https://user@login.example.org"}, "OIDC_BIG_CO_ISSUER must be an https address"),
        ({"OIDC_BIG_CO_ISSUER": "https://login.example.org?a=b"}, "OIDC_BIG_CO_ISSUER must be an https address"),
        ({"OIDC_BIG_CO_ISSUER": "login.example.org"}, "OIDC_BIG_CO_ISSUER must be an https address"),
        ({"OIDC_BIG_CO_SCOPES": "email"}, "OIDC_BIG_CO_SCOPES must have openid"),
        ({"OIDC_BIG_CO_SECRET": "a secret value"}, "OIDC_BIG_CO_SECRET is no setting"),
        ({"PUBLIC_URL": ""}, "PUBLIC_URL is not set"),
    ],
)
def test_an_incomplete_or_wrong_provider_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        providers(**environ)
    (problem,) = caught.value.problems
    assert problem.startswith(message)
    assert "a secret value" not in problem


def test_a_service_without_a_provider_does_not_load_its_libraries() -> None:
    program = "import sys, kitsu.app; print({'httpx', 'joserfc'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
