"""The API description against OpenAPI 3.1, the application and its real responses; and the page that shows it."""

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from kitsu.app import create_app
from kitsu.errors import AppError
from kitsu.settings import Settings
from tests.application import client_of
from tests.controllers.accounts import second_factor_operations
from tests.controllers.catalogue import editing_operations
from tests.controllers.viewer import viewer_operations

Schema = dict[str, Any]

UNKNOWN_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
ERROR = {"$ref": "#/components/schemas/ErrorBody"}
EVERY = {"500", "503"}
# Clients are generated from these names: one that changes breaks them.
OPERATIONS = {
    "listAnime": ("/anime", {"200", "304", "422"}),
    "getAnime": ("/anime/{anime_id}", {"200", "304", "404", "422"}),
    "listReleases": ("/releases", {"200", "304", "422"}),
    "getRelease": ("/releases/{release_id}", {"200", "304", "404", "422"}),
    "listEpisodes": ("/episodes", {"200", "304", "404", "422"}),
    "searchAnime": ("/search/anime", {"200", "304", "400", "422", "429"}),
    "suggestAnime": ("/search/suggest", {"200", "304", "400", "422", "429"}),
    "listGenres": ("/genres", {"200", "304"}),
    "listStudios": ("/studios", {"200", "304"}),
    "listSeasons": ("/seasons", {"200", "304"}),
    "getSchedule": ("/api/schedule", {"200", "304", "422"}),
    "getEpisodeServers": ("/api/episode/servers", {"200", "304", "404", "422"}),
    "getEpisodeSources": ("/api/episode/sources", {"200", "304", "404", "422"}),
    "getHealth": ("/health", {"200"}),
    "getLiveness": ("/health/live", {"200"}),
    "getReadiness": ("/health/ready", {"200"}),
}
# Operations of accounts: with a token, and those that return one.
SIGNED_IN = {
    "listSessions": ("/auth/sessions", {"200"}),
    "endSession": ("/auth/sessions/{session_id}", {"204", "404", "422"}),
    "endOtherSessions": ("/auth/sessions", {"204"}),
    "changePassword": ("/auth/password", {"204", "400", "422", "429"}),
    **second_factor_operations.SECOND_FACTOR,
    "linkProvider": ("/auth/oidc/{name}/link", {"200", "403", "404", "422", "429"}),
    "listSignInLinks": ("/users/me/links", {"200"}),
    "deleteSignInLink": ("/users/me/links/{link_id}", {"204", "400", "403", "404", "422"}),
    "getMe": ("/users/me", {"200"}),
    "changeMe": ("/users/me", {"200", "400", "403", "413", "415", "422", "429"}),
    "deleteMyAvatar": ("/users/me/avatar", {"204", "403"}),
    "deleteMe": ("/users/me", {"204", "400", "403", "422", "429"}),
    "changeEmail": ("/users/me/email", {"202", "400", "403", "422", "429"}),
    "deactivateMe": ("/users/me/deactivate", {"200", "400", "403", "422", "429"}),
    "listUsers": ("/users", {"200", "403", "422"}),
    "addUser": ("/users", {"201", "400", "403", "422"}),
    "getUser": ("/users/{user_id}", {"200", "403", "404", "422"}),
    "changeUser": ("/users/{user_id}", {"200", "400", "403", "404", "422"}),
    "deleteUser": ("/users/{user_id}", {"204", "400", "403", "404", "422"}),
}
# Operations of sign-in that take no body.
SIGN_IN = {
    "listProviders": ("/auth/providers", {"200"}),
    "startSignIn": ("/auth/oidc/{name}/start", {"303", "404", "422", "429"}),
    "finishSignIn": ("/auth/oidc/{name}/callback", {"303", "400", "404", "422", "429"}),
}
ENTRANCE = {
    "register": ("/auth/register", {"201", "400", "403", "422", "429"}),
    "login": ("/auth/login", {"200", "401", "422", "429"}),
    "finishLogin": ("/auth/login/second-factor", {"200", "401", "422", "429"}),
    "getPasskeyOptions": ("/auth/login/second-factor/passkey/options", {"200", "401", "404", "422"}),
    "finishLoginWithPasskey": ("/auth/login/second-factor/passkey", {"200", "401", "422", "429"}),
    "exchangeSignInCode": ("/auth/oidc/token", {"200", "400", "401", "403", "409", "422", "429"}),
    "refreshTokens": ("/auth/refresh", {"200", "401", "403", "422", "429"}),
    "verifyEmail": ("/auth/verify", {"204", "400", "422", "429"}),
    "forgotPassword": ("/auth/password/forgot", {"202", "422", "429"}),
    "resetPassword": ("/auth/password/reset", {"204", "400", "422", "429"}),
    "confirmEmail": ("/auth/email/confirm", {"204", "400", "422", "429"}),
    "revertEmail": ("/auth/email/revert", {"204", "400", "422", "429"}),
    "logout": ("/auth/logout", {"204", "422"}),
}
OPTIONAL_TOKEN = {
    "importList": ("/api/import/{provider}", {"200", "400", "404", "422", "429"}),
    "requestVerification": ("/auth/verify/request", {"202", "401", "422", "429"}),
}
FILES = {"getAvatar": ("/media/avatars/{name}", {"200", "206", "304", "404", "416"})}
KNOWN = SIGNED_IN | editing_operations.EDITING | viewer_operations.VIEWER | viewer_operations.GUESTS_TOO
ALL = {
    **OPERATIONS,
    **SIGN_IN,
    **ENTRANCE,
    **OPTIONAL_TOKEN,
    **FILES,
    **viewer_operations.EVERYONE,
    **{name: (path, {*it, "401"}) for name, (path, it) in KNOWN.items()},
}
BODIES = {
    *viewer_operations.BODIES,
    *editing_operations.BODIES,
    *ENTRANCE,
    *OPTIONAL_TOKEN,
    *second_factor_operations.BODIES,
    "changePassword",
    "changeMe",
    "deleteMe",
    "deactivateMe",
    "changeEmail",
    "addUser",
    "changeUser",
}
CODES = {
    "400": "VALIDATION_ERROR",
    "401": "AUTH_ERROR",
    "403": "PERMISSION_DENIED",
    "408": "REQUEST_TIMEOUT",
    "409": "CONFLICT_ERROR",
    "412": "PRECONDITION_FAILED",
    "413": "PAYLOAD_TOO_LARGE",
    "415": "UNSUPPORTED_MEDIA_TYPE",
    "416": "RANGE_NOT_SATISFIABLE",
    "429": "RATE_LIMITED",
    "404": "NOT_FOUND",
    "422": "VALIDATION_ERROR",
    "500": "INTERNAL_ERROR",
    "503": "SERVICE_UNAVAILABLE",
}
# The description leaves out itself and its page.
UNDESCRIBED = {"/admin", "/docs", "/docs/assets/{name}", "/openapi.json"}


@pytest.fixture
async def schema(reader: httpx.AsyncClient) -> Schema:
    response = await reader.get("/openapi.json")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body: Schema = response.json()
    return body


@pytest.fixture
def operations(schema: Schema) -> dict[str, Schema]:
    every = [operation for path in schema["paths"].values() for operation in path.values()]
    return {operation["operationId"]: operation for operation in every}


def content(response: Schema) -> Schema:
    assert set(response["content"]) <= {"application/json", "application/xml", "text/csv"}
    body: Schema = response["content"]["application/json"]
    return body


def problems(schema: Schema, part: Schema, value: Any) -> list[str]:
    validator = OAS31Validator({**part, "components": schema["components"]}, format_checker=oas31_format_checker)
    return [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(value)]


async def test_description_is_valid_openapi_31(schema: Schema, reader: httpx.AsyncClient) -> None:
    assert schema["openapi"].startswith("3.1.")
    errors = OpenAPIV31SpecValidator(schema).iter_errors()
    assert [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors] == []
    assert (await reader.get("/openapi.json/")).json() == schema


def test_operation_ids_do_not_change(schema: Schema, operations: dict[str, Schema]) -> None:
    named = {
        operation["operationId"]: path for path, methods in schema["paths"].items() for operation in methods.values()
    }
    assert named == {name: path for name, (path, _) in ALL.items()}
    assert sum(len(methods) for methods in schema["paths"].values()) == len(operations)


def test_every_path_of_the_application_is_described(schema: Schema) -> None:
    app = create_app(Settings(secret_key="k" * 32, database_url=URL.create("postgresql+asyncpg")))
    paths = {route.path_format for route in app.routes if not route.path_format.startswith("/openapi/")}
    assert paths - {"/openapi"} == set(schema["paths"]) | UNDESCRIBED


def test_operations_have_descriptions(schema: Schema, operations: dict[str, Schema]) -> None:
    known = {tag["name"] for tag in schema["tags"]}
    assert all(tag["description"] for tag in schema["tags"])
    for name, operation in operations.items():
        assert operation["tags"], name
        assert set(operation["tags"]) <= known, name
        assert re.fullmatch("[A-Z][a-z]+ .*[^.]|Log (in|out)", operation["summary"]), name
        assert operation.get("description", "Text.").endswith("."), name
        for parameter in operation.get("parameters", []):
            # Swagger UI would send the examples of all parameters: every filter, and an invalid cursor.
            assert not {"example", "examples"} & set(parameter), (name, parameter["name"])
            is_id = parameter["in"] == "path" and parameter["schema"].get("format") == "uuid"
            assert is_id or parameter["description"], (name, parameter["name"])
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)


def test_statuses_equal_the_table(operations: dict[str, Schema]) -> None:
    described = {name: set(operations[name]["responses"]) for name in ALL}
    with_body = {*BODIES, *viewer_operations.FORMS}
    assert described == {
        name: statuses | EVERY | ({"408", "413", "415"} if name in with_body else set())
        for name, (_, statuses) in ALL.items()
    }


@pytest.mark.parametrize("name", ALL)
def test_errors_have_the_contracts_body_and_an_example(
    schema: Schema, operations: dict[str, Schema], name: str
) -> None:
    for status, response in operations[name]["responses"].items():
        if int(status) < 400 or (status, name) in {("503", "getHealth"), ("503", "getReadiness")}:
            continue
        body = content(response)
        if (status, name) == ("401", "login"):
            assert body["schema"] == {"oneOf": [ERROR, {"$ref": "#/components/schemas/ChallengeBody"}]}
            continue
        assert body["schema"] == ERROR, status
        examples = [example["value"] for example in body["examples"].values()]
        assert examples, status
        for example in examples:
            assert problems(schema, ERROR, example) == []
            assert set(example) == {"code", "message", "details"}, status
            assert example["code"] == CODES[status]


def nodes(part: object) -> Iterator[Schema]:
    """Yield every object of a document, with those in it."""
    if isinstance(part, dict):
        yield part
    inner: object = list(part.values()) if isinstance(part, dict) else part
    for each in inner if isinstance(inner, list) else ():
        yield from nodes(each)


def is_obvious(schema: Schema, value: Schema) -> bool:
    """Return whether a value has an example, or consists of parts that have one."""
    if "examples" in value or "const" in value or value.get("format") == "binary":
        return True
    if "$ref" in value:
        component = schema["components"]["schemas"][value["$ref"].rpartition("/")[2]]
        return "enum" in component or "properties" in component or "examples" in component
    parts = [value["items"]] if "items" in value else value.get("allOf") or value.get("anyOf") or []
    return any(is_obvious(schema, part) for part in parts)


def test_each_property_and_parameter_has_an_example(schema: Schema, operations: dict[str, Schema]) -> None:
    components = schema["components"]["schemas"].items()
    values = {f"{name}.{key}": it for name, each in components for key, it in each.get("properties", {}).items()}
    for name, operation in operations.items():
        values |= {f"{name}({it['name']})": it["schema"] for it in operation.get("parameters", [])}
    assert [name for name, value in values.items() if not is_obvious(schema, value)] == []


def test_each_property_has_a_description(schema: Schema) -> None:
    missing = []
    for name, component in schema["components"]["schemas"].items():
        for key, value in component.get("properties", {}).items():
            parts = [value, *value.get("anyOf", [])]
            # A component has its own, and ids need none.
            if not any(
                "description" in it or {"$ref", "allOf"} & set(it) or it.get("format") == "uuid" for it in parts
            ):
                missing.append(f"{name}.{key}")
    assert missing == []


def test_examples_are_valid(schema: Schema) -> None:
    for node in nodes({path: schema[path] for path in ("paths", "components")}):
        if isinstance(node.get("examples"), list):
            assert [problem for value in node["examples"] for problem in problems(schema, node, value)] == []
        if "example" in node and "schema" in node:
            assert problems(schema, node["schema"], node["example"]) == []


def test_each_json_body_has_an_example(operations: dict[str, Schema]) -> None:
    for name, operation in operations.items():
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        contents = [it["content"]["application/json"] for it in bodies if "application/json" in it.get("content", {})]
        assert all("example" in it or "examples" in it for it in contents), name


def test_schemas_suit_generators(schema: Schema) -> None:
    for name, component in schema["components"]["schemas"].items():
        assert re.fullmatch("([A-Z][a-z]+)+|AniListExport", name)
        assert component["description"].endswith("."), name
        assert "enum" not in component or all(isinstance(value, str) for value in component["enum"]), name
    for node in nodes(schema):
        is_component = node in schema["components"]["schemas"].values()
        assert is_component or not isinstance(node.get("enum"), list), node
        assert not any(isinstance(node.get(key), float) for key in ("minimum", "maximum")), node
        assert node.get("type") != "object" or is_component or "additionalProperties" in node, node


def test_images_are_binary(operations: dict[str, Schema]) -> None:
    for status in ("200", "206"):
        assert operations["getAvatar"]["responses"][status]["content"] == {
            "image/webp": {"schema": {"type": "string", "format": "binary"}}
        }


def subclasses(kind: type[AppError]) -> Iterator[type[AppError]]:
    """Yield the subclasses of an error, with theirs."""
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


def test_error_codes_are_those_of_the_errors(schema: Schema) -> None:
    codes = {kind.code for kind in subclasses(AppError)}
    assert set(schema["components"]["schemas"]["ErrorCode"]["enum"]) == codes | {"METHOD_NOT_ALLOWED"}


def test_error_body_requires_its_three_fields(schema: Schema) -> None:
    body = schema["components"]["schemas"]["ErrorBody"]
    assert set(body["properties"]) == set(body["required"]) == {"code", "message", "details"}


def test_authorization_is_described(schema: Schema) -> None:
    scheme = schema["components"]["securitySchemes"]["bearer"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


def test_operations_with_a_token_have_a_security_requirement(operations: dict[str, Schema]) -> None:
    described = {name: operations[name].get("security", []) for name in ALL}
    guests, known = {*viewer_operations.GUESTS_TOO, *OPTIONAL_TOKEN}, {*KNOWN, *OPTIONAL_TOKEN}
    assert described == {name: [{}] * (name in guests) + [{"bearer": []}] * (name in known) for name in ALL}


def test_operations_with_a_body_describe_it(operations: dict[str, Schema]) -> None:
    described = {name: set(operations[name].get("requestBody", {"content": {}})["content"]) for name in ALL}
    bodies = {name: {"application/json"} if name in BODIES else set() for name in ALL}
    assert described == bodies | viewer_operations.FORMS


@pytest.mark.parametrize("path", ["/users", "/users/me", "/auth/sessions", f"/users/{UNKNOWN_ID}"])
async def test_response_to_a_guest_matches_the_description(
    schema: Schema, reader: httpx.AsyncClient, path: str
) -> None:
    described = schema["paths"][path.replace(UNKNOWN_ID, "{user_id}")]["get"]
    check_response(schema, described, await reader.get(path))


async def real_calls(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    """Return a call of each operation for each status that a client can cause."""
    calls = []
    for kind in ("anime", "releases"):
        name = {"anime": "getAnime", "releases": "getRelease"}[kind]
        items = (await client.get(f"/{kind}?limit=100")).json()
        calls += [(name, f"/{kind}/{item['id']}") for item in items]
        calls += [(name, f"/{kind}/{UNKNOWN_ID}"), (name, f"/{kind}/x")]
    return [
        *calls,
        *(("listAnime", f"/anime{query}") for query in ("", "?limit=100", "?type=OVA&total=true", "?limit=0")),
        *(("listAnime", f"/anime?external_id={it}") for it in ("1535&source=myanimelist", "1535", "1535&source=x")),
        *(("listReleases", f"/releases{query}") for query in ("?limit=100", f"?anime_id={UNKNOWN_ID}", "?offset=-1")),
        *(("listEpisodes", f"/episodes?release_id={it}") for it in (items[0]["id"], UNKNOWN_ID, "x")),
        *(("searchAnime", f"/search/anime?q={q}") for q in ("no", "one&sort=title", "xyzzy", "a", "no&sort=x")),
        *(("suggestAnime", f"/search/suggest?q={q}") for q in ("no", "xyzzy", "a", "x" * 201)),
        *(("listGenres", "/genres"), ("listStudios", "/studios"), ("listSeasons", "/seasons")),
        *(("getSchedule", f"/api/schedule{query}") for query in ("", "?date=x")),
        *(
            (f"getEpisode{kind}", f"/api/episode/{kind.lower()}?animeEpisodeId={it}")
            for kind in ("Servers", "Sources")
            for it in (items[0]["anime_id"], UNKNOWN_ID, "x")
        ),
        *(("getHealth", "/health"), ("getLiveness", "/health/live"), ("getReadiness", "/health/ready")),
    ]


def check_response(schema: Schema, operation: Schema, response: httpx.Response) -> None:
    """Check that the response matches the operation's description, without further fields."""
    described = content(operation["responses"][str(response.status_code)])["schema"]
    body = response.json()
    assert problems(schema, described, body) == [], response.url
    for item in body if isinstance(body, list) else [body]:
        shape = described.get("items", described)
        names = [it["$ref"].rpartition("/")[2] for it in shape.get("oneOf", [shape])]
        assert set(item) in [set(schema["components"]["schemas"][it]["properties"]) for it in names], response.url


async def test_responses_match_the_description(
    schema: Schema, operations: dict[str, Schema], reader: httpx.AsyncClient
) -> None:
    seen = set()
    for name, target in await real_calls(reader):
        response = await reader.get(target)
        check_response(schema, operations[name], response)
        seen.add((name, str(response.status_code)))
        if etag := response.headers.get("etag"):
            again = await reader.get(target, headers={"If-None-Match": etag})
            assert str(again.status_code) in operations[name]["responses"], target
            seen.add((name, str(again.status_code)))
    assert seen == {(name, status) for name, (_, statuses) in OPERATIONS.items() for status in statuses - {"429"}}


async def test_responses_without_database_match_the_description(
    schema: Schema, operations: dict[str, Schema], server: URL
) -> None:
    async with client_of(server.set(host="127.0.0.1", port=1, query={})) as client:
        for name, target in (
            *(("listAnime", "/anime"), ("listReleases", "/releases"), ("searchAnime", "/search/anime?q=one")),
            *(("getAnime", f"/anime/{UNKNOWN_ID}"), ("listEpisodes", f"/episodes?release_id={UNKNOWN_ID}")),
            *(("getRelease", f"/releases/{UNKNOWN_ID}"), ("getHealth", "/health"), ("getReadiness", "/health/ready")),
        ):
            with capture_logs():  # structlog takes seconds to draw a traceback
                response = await client.get(target)
            assert response.status_code == 503, target
            check_response(schema, operations[name], response)


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
async def test_docs_page_uses_no_other_host(reader: httpx.AsyncClient, path: str) -> None:
    response = await reader.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "//" not in re.sub(r"<!--.*?-->", "", response.text)
    references = re.findall(r'(?:src|href|data-schema)="([^"]+)"', response.text)
    kinds = set()
    for reference in references:
        assert not reference.startswith(("/", "http:", "https:"))
        target = response.url.join(reference)
        asset = await reader.get(target)
        assert asset.status_code == 200, target
        assert asset.content
        kinds.add(asset.headers["content-type"].partition(";")[0])
    assert kinds == {"image/png", "text/css", "text/javascript", "application/json"}


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
async def test_docs_page_satisfies_its_content_security_policy(reader: httpx.AsyncClient, path: str) -> None:
    response = await reader.get(path)
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert not any(source.startswith(("http", "*")) for sources in policy.values() for source in sources.split())
    (script,) = re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL)
    assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy["script-src"].split()
    assert "'unsafe-inline'" not in policy["script-src"]
    assert not re.search(r"\son\w+=", response.text)


@pytest.mark.parametrize(
    "name",
    [
        *("nope.js", "swagger-ui.js", "SWAGGER-UI.CSS", "swagger-ui.css%00", "%00", "...", "index.html", "a" * 5000),
        *(
            "..%2fdocs.py",
            "%2e%2e%2fswagger-ui.css",
            "..%5cdocs.py",
            "%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
            "%2e%2e",
        ),
        *("%2fetc%2fpasswd", ".%2fswagger-ui.css", "....%2f%2fx", "%252e%252e%252fx", "..%c0%afx", "x%2f..%2fx"),
    ],
    ids=lambda name: name[:30],
)
async def test_other_file_of_the_docs_is_404(reader: httpx.AsyncClient, name: str) -> None:
    response = await reader.get(f"/docs/assets/{name}")
    assert response.status_code == 404
    assert response.json() == {"code": "NOT_FOUND", "message": "Not found", "details": None}
