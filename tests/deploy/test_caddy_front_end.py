"""Debian's Caddy with the front end and the service at one address."""

import json
import os
from collections.abc import Iterator
from io import BytesIO
from uuid import uuid4

import pytest
from PIL import Image
from sqlalchemy.engine import URL

from tests.cli.process import free_port, kitsu
from tests.deploy.proxy import CADDY, Proxy, caddy, sink

pytestmark = pytest.mark.skipif(
    CADDY is None and not os.environ.get("KITSU_CADDY"), reason="no Caddy on this machine (Debian: apt install caddy)"
)


@pytest.fixture(scope="module")
def proxy(catalogue: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run the service and a stand-in for the front end behind Caddy."""
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    service = kitsu(folder, "serve", database=catalogue, TRUSTED_PROXIES="127.0.0.1", METRICS_ENABLED="true")
    front_end = {"FRONT_END": f"127.0.0.1:{port}"}
    with sink(port), service as server, caddy(folder, server.address, "Caddyfile.front-end", **front_end) as running:
        server.serves()
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


def test_next_page_is_below_the_prefix(proxy: Proxy) -> None:
    with proxy.client() as client:
        first = client.get("/backend/anime?limit=2")
        assert first.links["next"]["url"].startswith("/backend/anime?")
        assert len(client.get(first.links["next"]["url"]).json()) == 2
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
        assert client.get("/backend/metrics").status_code == 404
        assert json.loads(client.get("/anime/x").text) == 0  # the stand-in tells the size of each body
