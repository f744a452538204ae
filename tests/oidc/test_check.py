"""`kitsu check` of providers: one that works, one that is away, and wrong answers."""

from pathlib import Path
from typing import Any

from flask import Response

from tests.cli.invoke import invoked
from tests.cli.process import free_port
from tests.oidc.provider import CLIENT_ID, TestProvider
from tests.oidc.test_sign_in import provider

__all__ = ["provider"]


async def found(folder: Path, **issuers: str) -> tuple[int, str]:
    """Return the exit code and the first line of the check."""
    settings: dict[str, Any] = {"PUBLIC_URL": "https://api.example.org"}
    for name, issuer in issuers.items():
        more = {"ISSUER": issuer, "CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": "a secret value"}
        settings |= {f"OIDC_{name}_{part}": value for part, value in more.items()}
    code, output, errors = await invoked(folder, "check", "--deploy", "--tag", "accounts", **settings)
    assert errors == ""
    assert "a secret value" not in output
    return code, output.splitlines()[0]


async def test_providers_that_work_are_no_problem(provider: TestProvider, tmp_path: Path) -> None:
    expected = (0, "Kitsu check found no problems (0 silenced).")
    assert await found(tmp_path) == expected
    assert await found(tmp_path, GOOD=provider.issuer) == expected


async def test_the_provider_that_does_not_answer_is_named(provider: TestProvider, tmp_path: Path) -> None:
    issuer = f"http://127.0.0.1:{free_port()}"
    code, line = await found(tmp_path, BIG_CO=issuer, GOOD=provider.issuer)
    assert code == 1
    assert line.startswith(f"ERROR kitsu.E601: Users can't sign in with big-co: {issuer} does not answer as expected: ")
    assert line.endswith(".")


async def test_wrong_answers_are_reported(provider: TestProvider, tmp_path: Path) -> None:
    """A slash too much in the setting, a path without metadata, and keys that can't be used."""
    start = "ERROR kitsu.E601: Users can't sign in with good:"
    expected = f"{start} its metadata has the issuer '{provider.issuer}'."
    assert await found(tmp_path, GOOD=f"{provider.issuer}/") == (1, expected)
    issuer = f"{provider.issuer}/nowhere"
    code, line = await found(tmp_path, GOOD=issuer)
    assert (code, line.startswith(f"{start} {issuer} does not answer as expected: Client error '404")) == (1, True)
    provider.replies["/keys"] = Response('{"keys": []}')
    assert await found(tmp_path, GOOD=provider.issuer) == (1, f"{start} none of its keys can be used.")
