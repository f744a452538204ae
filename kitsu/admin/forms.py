"""Forms: the texts that a user entered, as values of the API's Structs, and the messages at their fields."""

import re
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any, TypeVar, get_args
from uuid import UUID

import msgspec
from litestar import Request
from litestar.datastructures import UploadFile
from msgspec import inspect

from kitsu.domain.versions import Expected, content_tag
from kitsu.errors import AppError, InvalidRequest, PreconditionFailed

T = TypeVar("T")
TAG = "_tag"
"""The field with the tag of what the user saw: a change of anything else is refused."""
KEY = "_key"
"""The field with the key of a form that creates something: sent twice, it creates one."""
CHANGED_MEANWHILE = (
    "Someone changed this after you opened the page. Your text is kept below; compare it and save again."
)

_FIELD = re.compile(r"(?P<message>.*?) - at (?:`key` in )?`\$\.(?P<field>\w+).*`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>\w+)`")
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?")


class Form:
    """The texts of a form, and what is wrong with them."""

    def __init__(self, texts: Mapping[str, Sequence[str]] | None = None) -> None:
        self.texts = dict(texts or {})
        self.errors: dict[str, str] = {}
        """Messages by field."""
        self.message: str | None = None
        """What is wrong with no single field."""

    @classmethod
    async def read(cls, request: Request[Any, Any, Any]) -> "Form":
        """Return the form that a request sends."""
        fields = (await request.form()).multi_items()
        texts: dict[str, list[str]] = {}
        for name, value in fields:
            if not isinstance(value, UploadFile):
                texts.setdefault(name, []).append(str(value).replace("\r\n", "\n"))
        return cls(texts)

    @classmethod
    def of(cls, current: msgspec.Struct, **others: str) -> "Form":
        """Return the form that shows the values of a Struct. It has their tag and a new key."""
        texts = {name: [text_of(value)] for name, value in msgspec.structs.asdict(current).items()}
        texts |= {name: [value] for name, value in others.items()}
        return cls({**texts, TAG: [content_tag(msgspec.json.encode(current))], KEY: [token_hex(16)]})

    @classmethod
    def empty(cls, **texts: str) -> "Form":
        """Return a form that creates something, with its key."""
        return cls({**{name: [value] for name, value in texts.items()}, KEY: [token_hex(16)]})

    def text(self, name: str) -> str:
        """Return the text of a field. Of a checkbox it is the last one: a hidden field before it has its `false`."""
        return self.texts.get(name, [""])[-1]

    @property
    def key(self) -> str:
        return self.text(KEY)[:255]

    @property
    def expected(self) -> Expected:
        """The version that the user saw."""
        return Expected(frozenset({self.text(TAG).strip('"*')}))

    def convert(self, kind: type[T], **others: Any) -> T:
        """Return the values as a Struct. `others` replace fields. Raises InvalidRequest with a message for each field.

        Fields that begin with an underscore belong to the form.
        """
        described: Any = inspect.type_info(kind)
        types = {field.encode_name: _types(field.type) for field in described.fields}
        names = [name for name in self.texts if not name.startswith("_")]
        values = {name: _value(self.text(name), types.get(name, ())) for name in names} | others
        # PostgreSQL stores no NUL.
        wrong = {name: "Must not contain NUL" for name in names if "\0" in self.text(name)}
        values = {name: value for name, value in values.items() if name not in wrong}
        while True:
            try:
                converted = msgspec.convert(values, kind, strict=False)
            except msgspec.ValidationError as error:
                # msgspec reports one error at a time: the others are found without this field.
                if (found := _FIELD.fullmatch(str(error))) and found["field"] in values:
                    wrong[found["field"]] = found["message"]
                    del values[found["field"]]
                    continue
                if (missing := _MISSING.match(str(error))) is None:
                    wrong.setdefault("", str(error))
                else:
                    wrong.setdefault(missing["field"], "Missing")
            else:
                if not wrong:
                    return converted
            raise InvalidRequest([{"field": name, "message": message} for name, message in wrong.items()])

    def refused(self, error: AppError) -> "Form":
        """Add the messages of an error of the domain, and return the form."""
        for detail in error.details or []:
            if detail.field in self.texts:
                self.errors[detail.field] = detail.message
            else:
                self.message = f"{detail.field}: {detail.message}".removeprefix(": ")
        if isinstance(error, PreconditionFailed):
            self.message = CHANGED_MEANWHILE
        elif not error.details:
            self.message = error.message
        return self


def decode_credential(text: str, kind: type[T]) -> T:
    """Return what the browser says about a passkey, which the page's script puts in a field. Raises InvalidRequest."""
    try:
        return msgspec.json.decode(text.encode(), type=kind)
    except msgspec.MsgspecError as error:
        raise InvalidRequest([{"field": "", "message": f"The passkey can't be read: {error}"}]) from error


def new_id(form: Form) -> UUID:
    """Return the id of what a form creates: sent twice, it is a conflict. Raises InvalidRequest."""
    try:
        return UUID(form.key)
    except ValueError as error:
        raise InvalidRequest([{"field": KEY, "message": "Open the page again"}]) from error


def literal_values(kind: Any) -> tuple[str, ...]:
    """Return the values of an annotated Literal, for a choice of them."""
    values: tuple[str, ...] = get_args(get_args(kind)[0])
    return values


def text_of(value: Any) -> str:
    """Return a value as a form shows it: lists with a line for each item, times in UTC without a zone."""
    if value is None or value is msgspec.UNSET:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, dict):
        return "\n".join(f"{key}: {item}" for key, item in value.items())
    if hasattr(value, "isoformat"):
        return str(value.isoformat(timespec="minutes")).removesuffix("+00:00")
    return str(value)


def _types(kind: Any) -> tuple[type, ...]:
    if isinstance(kind, inspect.Metadata):
        return _types(kind.type)
    if isinstance(kind, inspect.UnionType):
        return tuple(each for member in kind.types for each in _types(member))
    return (type(kind),)


def _value(text: str, types: Sequence[type]) -> Any:
    if inspect.ListType in types:
        return [line for line in map(str.strip, text.split("\n")) if line]
    if not text.strip() and inspect.NoneType in types:
        return None
    if inspect.DateTimeType in types and _LOCAL_TIME.fullmatch(text):
        return f"{text}Z" if text.count(":") == 2 else f"{text}:00Z"
    return text if inspect.StrType in types else text.strip()
