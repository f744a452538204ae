"""Malformed requests get the contract's errors: never a 500, a redirect or internal details."""

from typing import Any
from urllib.parse import quote_from_bytes, unquote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from structlog.testing import capture_logs

from kitsu.domain.catalogue.anime import AnimeReader
from kitsu.domain.catalogue.search import SearchReader
from kitsu.observability.logs import with_request

SECRET = "SELECT secret FROM /etc/passwd"
UNKNOWN_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
CODES = {
    400: "VALIDATION_ERROR",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    422: "VALIDATION_ERROR",
    500: "INTERNAL_ERROR",
    503: "SERVICE_UNAVAILABLE",
}
MESSAGES = {
    405: "Method not allowed",
    422: "Request validation failed",
    500: "Internal server error",
    503: "Service temporarily unavailable",
}


class RawURL(httpx.URL):
    """A URL whose bytes reach the application unchanged; httpx would normalize them."""

    target = b""

    @property
    def path(self) -> str:
        """The decoded path, as a server puts it in the scope."""
        return unquote(self.target.partition(b"?")[0].decode("latin-1"), errors="replace")

    @property
    def raw_path(self) -> bytes:
        """The path and the query as sent."""
        return self.target

    @property
    def query(self) -> bytes:
        """The query as sent."""
        return self.target.partition(b"?")[2]


async def send(client: httpx.AsyncClient, target: bytes | str, method: str = "GET") -> httpx.Response:
    request = client.build_request(method, "/")
    url = RawURL(request.url)
    url.target = target.encode() if isinstance(target, str) else target
    request.url = url
    with capture_logs():  # rendering this traceback takes seconds
        return await client.send(request)


def check_error(response: httpx.Response, status: int) -> dict[str, Any]:
    """Check that a response is this error, with the contract's body."""
    assert response.status_code == status, response.text[:200]
    assert response.headers["content-type"] == "application/json"
    assert "location" not in response.headers
    body: dict[str, Any] = response.json()
    assert list(body) == ["code", "message", "details"]
    assert body["code"] == CODES[status]
    assert isinstance(body["message"], str)
    assert body["message"] == MESSAGES.get(status, body["message"]) != ""
    for detail in body["details"] or []:
        assert list(detail) == ["field", "message"]
    assert body["details"] is None or status == 422
    return body


UNKNOWN_PATHS = (
    *(
        "/",
        "",
        "/nope",
        "/nope/",
        "/Anime",
        "/ANIME",
        "/animes",
        "/anime.json",
        "/anime%00",
        "/anime;x=1",
        "/api/anime",
    ),
    *(f"/anime/{UNKNOWN_ID}/x", "/anime/x/y/z", "/search", "/search/", "/search/anime/x", "/search/releases"),
    *("/schema", "/schema/", "/openapi", "/openapi/", "/openapi/x", "/openapi/openapi.json", "/openapi.yaml", "/redoc"),
    *("/docs/x", "/docs/assets", "/docs/assets/", "/docs/assets/x/y", "/health/x", "/health/live/x", "/robots.txt"),
    *("/.env", "/%2e%2e/etc/passwd", "/../etc/passwd", "/anime/../../etc/passwd", "/%ff%fe", "/%", "/%zz", "/\\", "*"),
    "/" + "a" * 20_000,
)

# Methods that the contract has not at these paths.
CHANGES = ("POST", "PUT", "PATCH", "DELETE")
PATHS = {
    **dict.fromkeys(("/anime", "/releases", "/episodes"), ("PUT", "PATCH", "DELETE")),
    **dict.fromkeys((f"/anime/{UNKNOWN_ID}", f"/releases/{UNKNOWN_ID}"), ("POST", "PUT")),
    **dict.fromkeys(("/search/anime", "/health", "/health/live", "/health/ready"), CHANGES),
    **dict.fromkeys(("/docs", "/docs/assets/swagger-ui.css", "/openapi.json"), CHANGES),
}
UNKNOWN_METHODS = ("TRACE", "CONNECT", "KITSU", "PROPFIND", "X" * 200)

NUMBERS = (
    *("", "%20", "abc", "1.5", "0x10", "1_0", "1,0", "%2B", "-", "NaN", "true", "null", "%00", "%ff", "%zz"),
    *("%F0%9F%98%80", "%EF%BC%95", "-1", "9" * 30, "9" * 5000),
)
WRONG_IDS = ("x", "1", "null", "%00", "%ff", "%zz", "a" * 9000, UNKNOWN_ID[:-1], f"{UNKNOWN_ID}x", f"{UNKNOWN_ID}%0a")
# The start of a target, the field that the error names, and the refused values. Each kind of value is tested in depth
# at one path, and with one value of each class at the others.
INVALID: list[tuple[str, str | None, tuple[str, ...]]] = [
    ("/anime?limit=", "limit", (*NUMBERS, "0", "101")),
    ("/anime?offset=", "offset", (*NUMBERS, str(2**63), "1e400")),
    ("/anime?year=", "year", (*NUMBERS, "0", "10000")),
    ("/anime?total=", "total", ("", "yes", "2", "null", "%00")),
    ("/anime?type=", "type", ("", "tvs", "TV%00", "TV,OVA", "%20TV", "null")),
    ("/anime?season=", "season", ("", "falls", "AUTUMN", "null")),
    ("/anime?sort=", "sort", ("", "-", "id", "--title", "null")),
    ("/anime?status=", "status", ("x" * 65,)),
    ("/anime?genres=", "genres", ("x" * 1001,)),
    ("/anime?status=", None, ("%00",)),
    ("/anime?genres=", None, ("%00",)),
    ("/releases?limit=", "limit", ("abc", "0", "101")),
    ("/releases?offset=", "offset", ("abc", "-1", str(2**63))),
    ("/releases?total=", "total", ("yes",)),
    ("/search/anime?q=one&limit=", "limit", ("abc", "0", "101")),
    ("/search/anime?q=one&offset=", "offset", ("abc", "-1", str(2**63))),
    ("/search/anime?q=one&total=", "total", ("yes",)),
    ("/search/anime?q=one&year=", "year", ("abc", "0", "10000")),
    ("/search/anime?q=one&type=", "type", ("t",)),
    ("/search/anime?q=one&season=", "season", ("autumn",)),
    ("/search/anime?q=one&sort=", "sort", ("id",)),
    ("/search/anime?q=one&status=", "status", ("x" * 65,)),
    ("/search/anime?q=one&genres=", "genres", ("x" * 1001,)),
    ("/search/anime?q=one&status=", None, ("%00",)),
    ("/search/anime?q=one&genres=", None, ("%00",)),
    ("/search/anime?q=", None, ("%00%00", "a%00b")),
    ("/anime/", "anime_id", (*WRONG_IDS, "{anime_id}", "..", f"%20{UNKNOWN_ID}", f"{{{UNKNOWN_ID}}}")),
    ("/releases/", "release_id", ("x", "%00", f"urn:uuid:{UNKNOWN_ID}")),
    ("/releases?anime_id=", "anime_id", (*WRONG_IDS, "")),
    ("/episodes?release_id=", "release_id", ("x", "%00", "")),
    ("/episodes", "release_id", ("", "?", "?release_id", "?_=1")),
]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "KITSU", "HEAD"])
async def test_unknown_path_is_404_for_every_method(reader: httpx.AsyncClient, method: str) -> None:
    for path in UNKNOWN_PATHS if method in {"GET", "POST"} else ("/nope", "/anime/x/y/z", "/docs/x", "*"):
        response = await send(reader, path, method)
        assert response.status_code == 404, path[:40]
        assert "allow" not in response.headers, path[:40]
        if method != "HEAD":
            assert check_error(response, 404)["message"] == "Not found", path[:40]


@pytest.mark.parametrize("path", PATHS)
async def test_wrong_method_is_405_with_allow(reader: httpx.AsyncClient, path: str) -> None:
    for target in (path, f"{path}/"):
        for method in (*PATHS[path], *UNKNOWN_METHODS):
            response = await send(reader, target, method)
            allowed = {name.strip() for name in response.headers["allow"].split(",")}
            assert allowed >= {"GET", "HEAD", "OPTIONS"}
            assert method not in allowed
            check_error(response, 405)


@pytest.mark.parametrize(("start", "field", "values"), INVALID, ids=[f"{row[0]}-{row[1]}" for row in INVALID])
async def test_wrong_value_is_422_and_names_its_field(
    reader: httpx.AsyncClient, start: str, field: str | None, values: tuple[str, ...]
) -> None:
    for value in values:
        response = await send(reader, start + value)
        assert response.status_code == 422, f"{value[:60]!r}: {response.text[:200]}"
        body = check_error(response, 422)
        if field:
            assert [detail["field"] for detail in body["details"]] == [field], value[:60]
            assert body["details"][0]["message"], value[:60]


async def test_each_wrong_field_is_named(reader: httpx.AsyncClient) -> None:
    body = check_error(await send(reader, "/anime?limit=0&offset=-1"), 422)
    assert {detail["field"] for detail in body["details"]} == {"limit", "offset"}


ODD_QUERIES = (
    *(b"%", b"%%%", b"=", b"&&&", b"?", b"#", b"%zz=%zz", b"status=%zz", b"genres=%", b"x=%e", b"x=%0d%0aX:%20y"),
    *(b"status=%ff", b"genres=%ed%a0", b"%ff=%fe", b"%00=%00", b"status=\xff\xfe", b"\xd0\xb9=\xd0", b"q=%ff%ff"),
    *(b"x=" + b"y" * 100_000, b"&".join(b"x%d=y" % number for number in range(5000)), b"genres=" + b"," * 1000),
    *(b"limit[]=1", b"LIMIT=0", b"filters=1", b"asked=1", b"request=1", b"self=1", b"anime=1", b"a;b=c", b"a[b]=c"),
)


@pytest.mark.parametrize(
    "path", ["/anime?limit=1&", "/releases?limit=1&", "/search/anime?limit=1&q=one&", "/episodes?"]
)
async def test_odd_query_is_200_or_422(reader: httpx.AsyncClient, path: str) -> None:
    for query in ODD_QUERIES:
        response = await send(reader, path.encode() + query)
        assert response.status_code in ({422} if path == "/episodes?" else {200, 422}), query[:30]
        if response.status_code != 200:
            check_error(response, 422)
        assert all(value.isprintable() for value in response.headers.values()), query[:30]


_names = st.sampled_from(
    ["limit", "offset", "total", "type", "status", "year", "season", "genres", "sort", "q", "anime_id", "release_id"]
).map(str.encode)
_values = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(str.encode),
    st.integers().map(lambda number: str(number).encode()),
    st.floats().map(lambda number: str(number).encode()),
    st.sampled_from([b"TV", b"FALL", b"-score", b"title", b"true", b"null", b"100", b"one", UNKNOWN_ID.encode()]),
)
_pairs = st.tuples(_names | _values, _values)
_queries = st.lists(_pairs, max_size=5).map(lambda pairs: urlencode(pairs).encode()) | st.binary(max_size=60)
_segments = st.sampled_from([b"anime", b"releases", b"episodes", b"search", b"docs", b"assets", b"openapi"]) | _values
_paths = st.one_of(
    st.sampled_from([b"/anime", b"/anime/", b"/releases", b"/episodes", b"/search/anime", b"/anime/" + b"0" * 32]),
    st.lists(_segments.map(quote_from_bytes), max_size=4).map(lambda parts: "/".join(["", *parts]).encode()),
)


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(_paths, _queries)
async def test_random_request_is_never_500(reader: httpx.AsyncClient, path: bytes, query: bytes) -> None:
    response = await send(reader, path + b"?" + query)
    assert response.status_code in {200, 400, 404, 405, 422}
    if response.status_code != 200:
        check_error(response, response.status_code)
    elif b"docs" not in path and b"openapi" not in path:
        assert isinstance(response.json(), list)


class Leak(Exception):
    """An error whose text must not leak, and whose `str()` fails."""

    def __str__(self) -> str:
        raise ValueError(SECRET)


@pytest.mark.parametrize("error", [RuntimeError(SECRET), KeyError(SECRET), ExceptionGroup(SECRET, [OSError()]), Leak()])
async def test_bug_is_500_and_logged_without_leaking(
    reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(AnimeReader, "page", fail)
    monkeypatch.setattr(AnimeReader, "detail", fail)
    monkeypatch.setattr(SearchReader, "page", fail)
    for path in ("/anime", f"/anime/{UNKNOWN_ID}", "/search/anime?q=one"):
        with capture_logs([with_request]) as lines:
            response = await reader.get(path, headers={"X-Request-ID": "the-request"})
        check_error(response, 500)
        assert "secret" not in str(response.headers)
        assert response.headers["x-request-id"] == "the-request"
        (line,) = [line for line in lines if line["log_level"] == "error"]
        assert line["request_id"] == "the-request"
        assert line["exc_info"] is error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ConnectionRefusedError("10.0.0.7:5432"), "ConnectionRefusedError"),
        (TimeoutError(), "TimeoutError"),
        (PoolTimeoutError("QueuePool"), "sqlalchemy.exc.TimeoutError"),
    ],
)
async def test_unavailable_database_is_503_and_one_line(
    reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, error: Exception, cause: str
) -> None:
    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(AnimeReader, "page", fail)
    with capture_logs([with_request]) as lines:
        responses = [await reader.get("/anime") for _ in range(3)]
    for response in responses:
        assert check_error(response, 503)["details"] is None
        assert int(response.headers["retry-after"]) > 0
    (line,) = lines
    assert line.keys() >= {"request_id", "where"}
    assert (line["event"], line["cause"]) == ("service unavailable", cause)
    assert "exc_info" not in line
