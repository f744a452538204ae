"""`avatar_url` is absolute: below MEDIA_PUBLIC_URL or PUBLIC_URL, or at the host that the client has called."""

from typing import Any

import pytest
from sqlalchemy.engine import URL

from tests.application import Applications
from tests.controllers.accounts.test_users import Person, administrator, person
from tests.databases import execute
from tests.images import plain

PROXY = ("127.0.0.0/8",)  # the address of the tests' client
HOST = {"host": "api.example.org"}
FORWARDED = {"host": "kitsu:8000", "x-forwarded-proto": "https", "x-forwarded-host": "api.example.org"}


async def avatar_url(member: Person, headers: dict[str, str] | None = None) -> Any:
    sent = {"Authorization": f"Bearer {member.tokens['access_token']}", **(headers or {})}
    response = await member.client.get("/users/me", headers=sent)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    return response.json()["avatar_url"]


@pytest.mark.parametrize(
    ("settings", "headers", "base"),
    [
        ({}, {}, "http://kitsu.test/media"),
        ({}, {"host": "api.example.org:8443"}, "http://api.example.org:8443/media"),
        ({}, {"host": "[::1]:8000"}, "http://[::1]:8000/media"),
        ({}, FORWARDED, "http://kitsu:8000/media"),
        ({"trusted_proxies": ("10.0.0.0/8",)}, FORWARDED, "http://kitsu:8000/media"),
        ({"trusted_proxies": PROXY}, FORWARDED, "https://api.example.org/media"),
        ({"trusted_proxies": PROXY}, HOST | {"x-forwarded-proto": "https"}, "https://api.example.org/media"),
        (
            {"trusted_proxies": PROXY},
            FORWARDED | {"x-forwarded-host": "forged.example, api.example.org"},
            "https://api.example.org/media",
        ),
        ({"public_url": "https://example.org/api"}, HOST, "https://example.org/api/media"),
        (
            {"public_url": "https://example.org/api", "trusted_proxies": PROXY},
            FORWARDED,
            "https://example.org/api/media",
        ),
        ({"media_public_url": "https://cdn.example.org/kitsu"}, HOST, "https://cdn.example.org/kitsu"),
        (
            {"media_public_url": "https://cdn.example.org/kitsu", "public_url": "https://example.org"},
            HOST,
            "https://cdn.example.org/kitsu",
        ),
    ],
)
async def test_avatar_url_is_absolute(
    applications: Applications, accountless: URL, settings: dict[str, Any], headers: dict[str, str], base: str
) -> None:
    async with applications.client_of(**settings) as client:
        member = await person(client, "member")
        assert await avatar_url(member, headers) is None
        await execute(accountless, "UPDATE users SET avatar = 'uploads/avatars/a b.jpg'")
        assert await avatar_url(member, headers) == f"{base}/avatars/a%20b.jpg"


@pytest.mark.parametrize("host", ["user@evil.example", "a.example:port"])
async def test_invalid_forwarded_host_is_refused(applications: Applications, host: str) -> None:
    async with applications.client_of(trusted_proxies=PROXY) as client:
        response = await client.get("/anime", headers={"x-forwarded-host": host})
        assert response.status_code == 400
        assert host not in response.text


async def test_responses_about_users_have_the_host_of_their_request(
    applications: Applications, accountless: URL
) -> None:
    async with applications.client_of() as client:
        boss = await administrator(client, accountless, "boss")
        changed = await boss.request("PATCH", "/users/me", files={"avatar": ("a.png", plain())})
        path = changed.json()["avatar_url"].removeprefix("http://kitsu.test")
        assert path.startswith("/media/avatars/")
        assert (await client.get(path)).status_code == 200
        bearer = {"Authorization": f"Bearer {boss.tokens['access_token']}"}
        for host in ("a.example", "b.example"):
            for method, address, body in (
                ("GET", "/users/me", None),
                ("PATCH", "/users/me", {"username": f"at-{host[0]}-example"}),
                ("GET", f"/users/{boss.id}", None),
                ("PATCH", f"/users/{boss.id}", {"role": "admin"}),
                ("GET", "/users", None),
                ("GET", "/users/me/export", None),
            ):
                response = await client.request(method, address, json=body, headers={"host": host, **bearer})
                assert f'"avatar_url":"http://{host}{path}"' in response.text, (method, address)
