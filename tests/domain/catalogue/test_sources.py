"""Source URLs: provider and id of known sites, host and URL of others."""

from typing import get_args

import pytest

from kitsu.domain.catalogue.anime import Provider
from kitsu.domain.catalogue.importing.entries import parse_source

KNOWN = {
    "https://anidb.net/anime/4563": ("anidb", "4563"),
    "https://anilist.co/anime/1535": ("anilist", "1535"),
    "https://anime-planet.com/anime/death-note": ("anime_planet", "death-note"),
    "https://animecountdown.com/38826": ("animecountdown", "38826"),
    "https://animenewsnetwork.com/encyclopedia/anime.php?id=6592": ("animenewsnetwork", "6592"),
    "https://anisearch.com/anime/3633": ("anisearch", "3633"),
    "https://kitsu.app/anime/1376": ("kitsu", "1376"),
    "https://kitsu.io/anime/1376": ("kitsu", "1376"),
    "https://livechart.me/anime/3437": ("livechart", "3437"),
    "https://myanimelist.net/anime/1535": ("myanimelist", "1535"),
    "https://simkl.com/anime/38826": ("simkl", "38826"),
    "https://notify.moe/anime/0-A-5Fimg": ("notify_moe", "0-A-5Fimg"),
}


@pytest.mark.parametrize(("url", "expected"), KNOWN.items())
def test_known_host_is_its_provider(url: str, expected: tuple[str, str]) -> None:
    scheme, rest = url.split("://")
    assert parse_source(url) == expected
    assert parse_source(f"{url}/") == expected
    assert parse_source(f"http://{rest}") == expected
    assert parse_source(f"{scheme}://www.{rest}") == expected
    assert parse_source(f"HTTP://WWW.{rest.split('/')[0].upper()}/{rest.split('/', 1)[1]}/") == expected
    assert parse_source(f"{url}#reviews") == expected


def test_providers_of_the_api_are_those_of_imports() -> None:
    assert set(get_args(Provider)) == {parse_source(url)[0] for url in KNOWN}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://myanimelist.net/anime/001535", ("myanimelist", "1535")),
        ("https://myanimelist.net:443/anime/1535", ("myanimelist", "1535")),
        ("https://anime-planet.com/anime/22-7", ("anime_planet", "22-7")),
        ("https://anime-planet.com/anime/86", ("anime_planet", "86")),
        # Slugs and tokens are not numbers: with leading zeros it is another anime.
        ("https://anime-planet.com/anime/007", ("anime_planet", "007")),
        ("https://notify.moe/anime/0012345", ("notify_moe", "0012345")),
        # Letter case is part of a token.
        ("https://notify.moe/anime/AbC", ("notify_moe", "AbC")),
    ],
)
def test_source_of_known_host_has_the_providers_id(url: str, expected: tuple[str, str]) -> None:
    assert parse_source(url) == expected


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.org/anime/1", "example.org"),
        ("https://example.org/anime/1/", "example.org"),
        ("http://www.example.org/anime?id=1#top", "example.org"),
        ("https://EXAMPLE.org/Anime", "example.org"),
        ("https://example.org", "example.org"),
        ("https://アニメ.example.org/1", "アニメ.example.org"),
        ("https://[2001:db8::1]/1", "2001:db8::1"),
        # Other pages of known sites.
        ("https://myanimelist.net/anime/1535/Death_Note", "myanimelist.net"),
        ("https://myanimelist.net/manga/21", "myanimelist.net"),
        ("https://myanimelist.net/anime/", "myanimelist.net"),
        ("https://myanimelist.net/anime/-1", "myanimelist.net"),
        ("https://myanimelist.net/anime/١٥٣٥", "myanimelist.net"),
        ("https://myanimelist.net/anime/1535?page=2", "myanimelist.net"),
        ("https://kitsu.io/anime/death-note", "kitsu.io"),
        ("https://anime-planet.com/anime/death-note/reviews", "anime-planet.com"),
        ("https://animenewsnetwork.com/encyclopedia/manga.php?id=6592", "animenewsnetwork.com"),
        ("https://myanimelist.net.example.org/anime/1535", "myanimelist.net.example.org"),
        ("https://notmyanimelist.net/anime/1535", "notmyanimelist.net"),
    ],
)
def test_source_without_known_id_is_host_and_url(url: str, host: str) -> None:
    assert parse_source(url) == (host, url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1535",
        "not a url",
        "myanimelist.net/anime/1535",
        "//myanimelist.net/anime/1535",
        "/anime/1535",
        "https:",
        "https://",
        "https:///anime/1535",
        "https://:80/anime",
        "https://[::1/anime",
        "https://www./anime",
        "ftp://example.org/anime",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "javascript://example.org/%0aalert(1)",
        "data:text/html,x",
        f"https://{'h' * 256}/",
        "https://no host/anime",
        "https://example.org/two\nlines",
    ],
)
def test_invalid_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a URL$"):
        parse_source(text)
