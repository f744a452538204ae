"""Debian's Caddy and nginx with the front end and the service at one address."""

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from uuid import uuid4

import pytest
from PIL import Image
from sqlalchemy.engine import URL

from tests.cli.process import free_port, kitsu
from tests.databases import copy_of
from tests.deploy.proxy import CADDY, NGINX, Proxy, caddy, nginx, sink


def needs(program: str, path: str | None) -> pytest.MarkDecorator:
    """Return a mark that skips without a program, unless the environment makes it mandatory."""
    is_skipped = path is None and not os.environ.get(f"KITSU_{program.upper()}")
    return pytest.mark.skipif(is_skipped, reason=f"no {program} on this machine (Debian: apt install {program})")


@pytest.fixture(scope="module")
async def site_database(server: URL, catalogue_template: URL) -> AsyncIterator[URL]:
    """Create a database with the sample catalogue."""
    async with copy_of(catalogue_template, server) as url:
        yield url


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=needs(name, path)) for name, path in (("caddy", CADDY), ("nginx", NGINX))],
)
def proxy(
    request: pytest.FixtureRequest, site_database: URL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Run the service and a stand-in for the front end behind Caddy, then behind nginx."""
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    front_end = f"127.0.0.1:{port}"
    service = kitsu(folder, "serve", database=site_database, TRUSTED_PROXIES="127.0.0.1", METRICS_ENABLED="true")
    with sink(port), service as server:
        server.serves()
        if request.param == "nginx":
            site = nginx(folder, server.address, front_end=front_end, file="nginx.front-end.conf")
        else:
            site = caddy(folder, server.address, "Caddyfile.front-end", FRONT_END=front_end)
        with site as running:
            yield running


@pytest.mark.parametrize(
    "page", ["/anime/{}", "/anime/watch?anime={}&episode=x", "/anime/watch?type=latest&anime={}#x"]
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_page_of_an_anime_gets_its_releases(proxy: Proxy, page: str, slash: str) -> None:
    with proxy.client() as client:
        for anime in client.get("/backend/anime?limit=5").json():
            own = client.get(f"/backend/releases?anime_id={anime['id']}").json()
            referer = {"Referer": proxy.url + page.format(anime["id"])}
            response = client.get(f"/backend/releases{slash}?limit=100&offset=0", headers=referer)
            assert own
            assert response.json() == own
            assert "Referer" in response.headers["vary"]


def test_other_requests_pass_unchanged(proxy: Proxy) -> None:
    with proxy.client() as client:
        newest = client.get("/backend/releases?limit=2").json()
        assert len({release["anime_id"] for release in newest}) == 2
        unknown = {"Referer": f"{proxy.url}/anime/{uuid4()}"}
        anime_id = newest[0]["anime_id"]
        for headers in ({}, {"Referer": f"{proxy.url}/search?q=x"}, {"Referer": "https://example.org/"}):
            assert client.get("/backend/releases?limit=2", headers=headers).json() == newest
        assert client.get("/backend/releases", headers=unknown).json() == []
        assert client.get(f"/backend/releases?anime_id={anime_id}", headers=unknown).json()
        assert client.get("/backend/search/anime?q=steins").json()
        for path in ("/metrics", "/metrics/", "//metrics", "/%6detrics"):
            assert client.get(f"/backend{path}").status_code == 404
        assert json.loads(client.get("/anime/x").text) == 0  # the stand-in tells the size of each body


def test_addresses_have_the_prefix(proxy: Proxy) -> None:
    with proxy.client() as client:
        for path in ("/backend/anime?limit=2", "/backend/releases?limit=2"):
            first = client.get(path)
            link = re.fullmatch(r'<(/backend/[^<>]+)>; rel="next"', first.headers["link"])
            assert link, first.headers["link"]
            second = client.get(link[1])
            assert len(second.json()) == 2
            assert not {item["id"] for item in first.json()} & {item["id"] for item in second.json()}
        account = {"email": f"{uuid4()}@example.org", "password": "a long password"}
        token = client.post("/backend/auth/register", json=account).json()["access_token"]
        picture = BytesIO()
        Image.new("RGB", (8, 8)).save(picture, "PNG")
        response = client.patch(
            "/backend/users/me",
            files={"avatar": ("a.png", picture.getvalue(), "image/png")},
            headers={"Authorization": f"Bearer {token}"},
        )
        avatar_url = response.json()["avatar_url"]
        assert avatar_url.startswith(f"{proxy.url}/backend/media/avatars/")
        assert client.get(avatar_url).status_code == 200
        assert "link" not in client.get("/backend/genres").headers


def test_client_can_not_set_its_address(proxy: Proxy) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "ftp", "X-Forwarded-Host": "example.org"}
    with proxy.client() as client:
        credentials = {"email": f"{uuid4()}@example.org", "password": "a long password"}
        tokens = client.post("/backend/auth/register", json=credentials, headers=headers).json()
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        (session,) = client.get("/backend/auth/sessions", headers=bearer).json()
        assert session["ip"] == "127.0.0.1"
