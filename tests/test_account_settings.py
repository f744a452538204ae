"""The settings of accounts, rate limits, proxies and avatars: what each accepts, and what is refused."""

import pytest

from tests.test_settings import load, problem


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("REFRESH_LEEWAY_SECONDS", "0", 0),
        ("REFRESH_RETRY", "same", "same"),
        ("PASSWORD_THREADS", "2", 2),
        ("PASSWORD_QUEUE", "0", 0),
        ("REFUSE_COMMON_PASSWORDS", "true", True),
        ("LOGIN_REFUSAL_MS", "1500", 1500),
        ("RATE_LIMIT_ENABLED", "false", False),
        ("RATE_LIMIT_LOGIN", "5/900", (5, 900)),
        ("RATE_LIMIT_LOGIN_ADDRESS", "1/1", (1, 1)),
        ("RATE_LIMIT_REGISTER", "9999999/999999", (9_999_999, 999_999)),
        ("RATE_LIMIT_REFRESH", "10/60", (10, 60)),
        ("RATE_LIMIT_SEARCH", "10/60", (10, 60)),
        ("RATE_LIMIT_AVATAR", "10/60", (10, 60)),
        ("MEDIA_URL", "file://./media/of users", "file://./media/of users"),
        ("MEDIA_URL", "file:///var/lib/kitsu", "file:///var/lib/kitsu"),
        ("MEDIA_URL", "s3://kitsu.media-1/a/b/", "s3://kitsu.media-1/a/b/"),
        ("MEDIA_PUBLIC_URL", "https://cdn.example.org/kitsu/", "https://cdn.example.org/kitsu"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, ::1,", ("10.0.0.0/8", "::1")),
    ],
)
def test_value(name: str, text: str, value: object) -> None:
    assert getattr(load(**{name: text}), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("REFRESH_LEEWAY_SECONDS", 0, 300),
        ("PASSWORD_THREADS", 1, 64),
        ("PASSWORD_QUEUE", 0, 100_000),
        ("LOGIN_REFUSAL_MS", 0, 10_000),
    ],
)
def test_number(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(load(**{name: str(value)}), name.lower()) == value
    for text in (str(low - 1), str(high + 1), "five", "1.5", "1e3", "+5", "٣"):
        assert problem(**{name: text}).startswith(f"{name} must be a whole number from {low} to {high}, not ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REFRESH_RETRY", "Same"),
        ("REFUSE_COMMON_PASSWORDS", "maybe"),
        ("RATE_LIMIT_ENABLED", "2"),
        *[("RATE_LIMIT_LOGIN", text) for text in ("5", "5/", "/900", "0/900", "5/0", "-5/900", "5/900/1", "5 / 900")],
        *[("RATE_LIMIT_SEARCH", text) for text in ("1e3/60", "٣/60", "99999999/1", "1/9999999", "5/15m")],
        *[("RATE_LIMIT_AVATAR", text) for text in ("30", "0/3600")],
        *[("MEDIA_URL", text) for text in ("uploads", "/uploads", "file://uploads", "file:uploads", "file://.uploads")],
        *[
            ("MEDIA_URL", text)
            for text in ("s3://", "s3:///x", "s3://Bucket", "s3://b/x?y=z", "gs://bucket", "s3://k:p@b")
        ],
        *[
            ("MEDIA_PUBLIC_URL", text)
            for text in ("cdn.example.org", "ftp://a.example", "https://", "https://a.example?x")
        ],
        *[
            ("MEDIA_PUBLIC_URL", text)
            for text in ("https://u@a.example", "https://a.example:x", "https://a b", "https://[")
        ],
        *[("TRUSTED_PROXIES", f"127.0.0.1,{text}") for text in ("proxy", "10.0.0.0/33", "10.0.0.1/8", "*", "10.0.0")],
    ],
)
def test_choice(name: str, text: str) -> None:
    said = problem(**{name: text})
    assert said.startswith(f"{name} must ")
    if not name.startswith("MEDIA"):  # which may hold a password, and is not repeated
        assert text.rsplit(",", maxsplit=1)[-1] in said


def test_an_endpoint_of_s3() -> None:
    bucket = {"MEDIA_URL": "s3://bucket"}
    assert load(**bucket, MEDIA_S3_ENDPOINT="http://127.0.0.1:9000/").media_s3_endpoint == "http://127.0.0.1:9000"
    assert problem(**bucket, MEDIA_S3_ENDPOINT="minio:9000").startswith("MEDIA_S3_ENDPOINT must be ")
    assert problem(MEDIA_S3_ENDPOINT="http://127.0.0.1:9000").startswith("MEDIA_S3_ENDPOINT is set, though MEDIA_URL")
    with_folder = problem(MEDIA_URL="file://./x", MEDIA_S3_ENDPOINT="http://127.0.0.1:9000")
    assert with_folder.startswith("MEDIA_S3_ENDPOINT is set, though MEDIA_URL")
