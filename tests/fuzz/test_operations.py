"""Each operation of the API with generated requests, by its description, as a guest, a user and an administrator.

Half of the requests are valid by the description. Most of those get ids and passwords that exist. KITSU_FUZZ_EXAMPLES
is the number of requests of each kind for each operation; a large number makes them random.
"""

import json
import os
from collections import defaultdict
from typing import Any
from uuid import uuid4

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode, Response, checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from sqlalchemy.engine import URL

from tests.cli.process import Process
from tests.fuzz.accounts import new_account
from tests.images import plain

pytestmark = pytest.mark.fuzz

AnyCase = Case[Any]

EXAMPLES = int(os.environ.get("KITSU_FUZZ_EXAMPLES", "5"))
MAX_REPEATABLE = 20
SEARCH = "GET /search/anime"
LIST: Any = {"lists": [{"entries": [{"media": {"idMal": 1535}, "status": "CURRENT", "progress": 7}]}]}
"""A list in AniList's form."""
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
OF_THE_SERVER = {414, 431}
"""Statuses for an address or a header that is too long, which Granian sends for any operation."""
UNREACHED = {
    "GET /auth/oidc/{name}/callback": "needs a provider",
    "GET /auth/oidc/{name}/start": "needs a provider",
    "POST /auth/oidc/{name}/link": "needs a provider",
    "POST /auth/oidc/token": "needs a provider",
    "DELETE /users/me/links/{link_id}": "needs a provider",
    "POST /auth/verify": "needs the token of a mail",
    "POST /auth/password/reset": "needs the token of a mail",
    "POST /auth/email/confirm": "needs the token of a mail",
    "POST /auth/email/revert": "needs the token of a mail",
    "POST /auth/second-factor/totp/confirm": "needs a code",
    "POST /auth/second-factor/recovery-codes": "needs a code",
    "POST /auth/second-factor/passkeys": "needs a browser",
    "DELETE /auth/second-factor/passkeys/{passkey_id}": "needs a browser",
    "POST /auth/login/second-factor": "needs a code",
    "POST /auth/login/second-factor/passkey": "needs a browser",
    "POST /auth/login/second-factor/passkey/options": "needs a browser",
}
"""Operations whose success a generated request can't reach. Other tests do."""
RULES = (
    "Email already registered",
    "The avatar",
    "already taken",
    "Must have at least 8 characters",
    "Must have a visible character",
    "The token is invalid",
    "The sign-in is invalid",
    "The code is wrong",
    "There is no second factor",
    "Expected an IANA time zone",
    "Expected M/D/YYYY",
    "must not be in the future",
    "There is no such day",
    "Expected the one of a Link",
    "Expected the cursor of a Link",
    "Not allowed together with cursor",
    "A list of changes has no offset",
    "Expected 1 to 100 ids",
    "source and external_id belong together",
    "must have at least 2 characters",
    "Invalid enum value",
    "Episode number must be",
    "Either position_seconds or",
    "Progress percent must",
    "Position in seconds must",
    "a text must not contain NUL",
    "There are no lists to import",
    "The file is",
    "The JSON is not a list",
    "Missing",
    "Not in the collection",
    "Choose external ids",
    "Expected at most one decimal",
    "Was used for another request",
    "Not for a list of changes",
    "Some do not belong to this anime",
)
"""Beginnings and parts of the messages of rules that JSON Schema can't express."""


class Fuzzer:
    """Sends generated requests of one role, and notes what is wrong with the responses."""

    def __init__(self, site: Process, database: URL, role: str) -> None:
        self._base_url, self._database, self._role = f"http://{site.address}", database, role
        self._session = requests.Session()
        self._account = new_account(database, role)
        picture = {"avatar": ("a.png", plain())}
        uploaded = requests.patch(
            f"{self._base_url}/users/me", files=picture, headers=self._account.headers, timeout=60
        )
        self._avatar = uploaded.json()["avatar_url"].rpartition("/")[2] if uploaded.ok else ""
        self._has_totp = False
        self.problems: dict[str, str] = {}
        self.reached: set[str] = set()
        self.statuses: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))

    def send_all(self, operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> None:
        """Send the requests of one operation; further valid ones if none has succeeded that could."""
        self._send(operation, mode, EXAMPLES, only_led=False)
        if mode is GenerationMode.POSITIVE and self._role == "admin" and operation.label not in UNREACHED:
            self._send(operation, mode, MAX_REPEATABLE, only_led=True)

    def _send(
        self, operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, count: int, *, only_led: bool
    ) -> None:
        # The last request may have changed or removed what its account had.
        label = operation.label
        self._has_totp = label.startswith("DELETE /auth/second-factor")
        self._account = new_account(self._database, self._role, has_totp=self._has_totp)
        if label == "POST /merges/{merge_id}/undo":
            self._merge()
        examples = st.tuples(operation.as_strategy(generation_mode=mode), st.integers(1 if only_led else 0, 3))

        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=[*HealthCheck],
            derandomize=EXAMPLES <= MAX_REPEATABLE,
        )
        @given(examples)
        def send(example: tuple[AnyCase, int]) -> None:
            case, number = example
            if only_led and label in self.reached:
                return
            if mode is GenerationMode.POSITIVE and number:
                self._lead(case)
            if only_led:
                case.headers.pop("If-Match", None)
            self._check(case, mode)

        try:
            send()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # an operation without parameters

    def _merge(self) -> None:
        """Merge the anime of the account, for an undo."""
        values, headers = self._account.values, self._account.headers
        path = f"{self._base_url}/anime/{values['anime_id']}/merge"
        requests.post(path, json={"into": values["into"]}, headers=headers, timeout=60)
        merges = requests.get(f"{self._base_url}/merges", headers=headers, timeout=60)
        values["merge_id"] = merges.json()[0]["id"] if merges.ok else ""

    def _lead(self, case: AnyCase) -> None:
        """Put values into a request that exist."""
        values = dict(self._account.values)
        if case.operation.label in {"POST /auth/register", "POST /users", "PATCH /users/me/email"}:
            values["email"] = f"{uuid4()}@example.org"
        elif case.operation.label == "POST /favorites":
            values["anime_id"] = values["into"]
        elif case.operation.label == "GET /media/avatars/{name}":
            values["name"] = self._avatar
        elif case.operation.label == "POST /anime/{anime_id}/split" and isinstance(case.body, dict):
            case.body = {**case.body, "releases": [], "episodes": [], "external_ids": {}}
        elif case.operation.label == "POST /watch/progress" and isinstance(case.body, dict):
            case.body = {**case.body, "episode": 1, "position_seconds": 9, "progress_percent": 50}
        elif case.operation.label == "POST /library/import" and isinstance(case.body, dict):
            case.body = {"file": json.dumps(LIST)} if "file" in case.body else LIST
        case.path_parameters = _replaced(case.path_parameters, values)
        case.query = {"q": "anime"} if case.operation.label == SEARCH else _replaced(case.query, values)
        case.body = _replaced(case.body, values)

    def _check(self, case: AnyCase, mode: GenerationMode) -> None:
        label = case.operation.label
        try:
            response = case.call(base_url=self._base_url, headers=self._account.headers, session=self._session)
        except requests.RequestException as error:
            self._note(case, type(error).__name__, str(error))
            return
        self.statuses[label][response.status_code] += 1
        if 200 <= response.status_code < 300 or response.status_code == 303:
            self.reached.add(label)
        if response.status_code in OF_THE_SERVER:
            return
        is_read = mode is GenerationMode.NEGATIVE and response.status_code != 413
        wanted = [*CHECKS, *([checks.negative_data_rejection] if is_read else [])]
        try:
            case.validate_response(response, checks=wanted)
        except FailureGroup as group:
            for failure in group.exceptions:
                # The account's token takes the place of one that was left out.
                if "(was Authorization)" in str(failure) and self._account.headers:
                    continue
                self._note(case, f"{response.status_code} {type(failure).__name__}", str(failure))
        if mode is GenerationMode.POSITIVE and response.status_code in {400, 422}:
            self._check_refusal(case, response)
        if response.status_code == 401 and self._account.headers:
            self._account = new_account(self._database, self._role, has_totp=self._has_totp)

    def _check_refusal(self, case: AnyCase, response: Response) -> None:
        """Note a valid request that was refused, unless by a rule that the description can't express."""
        body = response.json()
        details = body["details"] or [{"field": "", "message": body["message"]}]
        for detail in details:
            # The library for addresses has dozens of messages.
            if detail["field"] != "email" and not any(part in detail["message"] for part in RULES):
                self._note(case, f"refused {detail['field']}", detail["message"])

    def _note(self, case: AnyCase, kind: str, text: str) -> None:
        self.problems.setdefault(f"{case.operation.label} {kind}", f"{text}\n{case.as_curl_command()}"[:1500])


def _replaced(part: Any, values: dict[str, Any]) -> Any:
    """Return a part of a request with the values of the names that it has."""
    if isinstance(part, list):
        return [_replaced(each, values) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        name: values[name] if name in values and isinstance(value, str | int | list) else _replaced(value, values)
        for name, value in part.items()
    }


@pytest.mark.parametrize("role", ["guest", "user", "admin"])
def test_generated_requests_get_documented_responses(site: Process, database: URL, role: str) -> None:
    document = httpx.get(f"http://{site.address}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    fuzzer = Fuzzer(site, database, role)
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for operation in operations:
            fuzzer.send_all(operation, mode)
    assert not fuzzer.problems, "\n\n".join(f"{name}: {text}" for name, text in fuzzer.problems.items())
    if role == "admin":
        missing = {operation.label for operation in operations} - fuzzer.reached
        wrong = [f"{label}: {dict(fuzzer.statuses[label])}" for label in sorted(missing ^ UNREACHED.keys())]
        assert not wrong, "\n".join(["Reached, or not:", *wrong])
