"""X-Request-ID of all responses: the client's if it is harmless, otherwise a new one."""

import asyncio
import re

import httpx
import pytest

ANSWERS = [
    *(("GET", "/anime", 200), ("GET", "/health", 200), ("GET", "/docs", 200), ("GET", "/openapi.json", 200)),
    *(("OPTIONS", "/anime", 204), ("GET", "/search/anime", 400), ("GET", "/nope", 404), ("POST", "/nope", 404)),
    *(("PATCH", "/anime", 405), ("HEAD", "/anime", 200), ("KITSU", "/anime", 405), ("GET", "/anime?limit=0", 422)),
]
MADE = re.compile(r"[0-9a-f]{32}")


def id_of(response: httpx.Response) -> str:
    (value,) = response.headers.get_list("x-request-id")
    return value


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
async def test_sent_id_is_returned(reader: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    response = await reader.request(method, path, headers={"X-Request-ID": "3f0c-Of.the:client/1+2=3_4"})
    assert response.status_code == status
    assert id_of(response) == "3f0c-Of.the:client/1+2=3_4"


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
async def test_request_without_id_gets_a_new_one(
    reader: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    ids = set()
    for _ in range(3):
        response = await reader.request(method, path)
        assert response.status_code == status
        assert MADE.fullmatch(id_of(response))
        ids.add(id_of(response))
    assert len(ids) == 3


@pytest.mark.parametrize("sent", ["a", "0", "x" * 128])
async def test_id_of_up_to_128_characters_is_returned(reader: httpx.AsyncClient, sent: str) -> None:
    assert id_of(await reader.get("/nope", headers={"X-Request-ID": sent})) == sent


@pytest.mark.parametrize(
    "sent",
    [
        *(b"", b" ", b"a b", b"a\tb", b" a ", b'"a"', b"<a>", b"{a}", b"a;b", b"a,b", b"a\\b", b"a%0ab", b"a\x7fb"),
        *(b"\xff", "ю".encode(), "é".encode("latin-1"), b"a\x1b[31m", b"a\nb", b"a\r\nX-Other: b", b"a\x00", b"a\n"),
        *(b"x" * 129, b"x" * 10_000),
    ],
    ids=lambda sent: ascii(sent[:20]),
)
async def test_harmful_id_is_replaced(reader: httpx.AsyncClient, sent: bytes) -> None:
    for path in ("/health/live", "/nope", "/anime/x"):
        response = await reader.get(path, headers={b"X-Request-ID": sent})
        assert MADE.fullmatch(id_of(response))
        assert "x-other" not in response.headers


async def test_concurrent_requests_keep_their_ids(reader: httpx.AsyncClient) -> None:
    sent = [f"request-{number}" for number in range(30)]
    responses = await asyncio.gather(*(reader.get("/anime?limit=1", headers={"X-Request-ID": it}) for it in sent))
    assert [id_of(response) for response in responses] == sent
