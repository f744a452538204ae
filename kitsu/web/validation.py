"""What is wrong with a request: all parameters and fields, where Litestar and msgspec stop at the first.

And the unknown query parameters, which they ignore.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin
from urllib.parse import parse_qsl, urlencode
from weakref import WeakKeyDictionary

import msgspec
from litestar.connection import ASGIConnection, Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg, PathParameter, QueryParameter

from kitsu.domain.fields import VISIBLE
from kitsu.errors import ErrorDetail, InvalidRequest

Connection = ASGIConnection[Any, Any, Any, Any]
Source = Any  # a handler or a Provide: both have a signature and the model that validates its values

MAX_REMEMBERED_BYTES = 200  # of a query: longer ones are rare, and would fill the memory
MAX_REMEMBERED_QUERIES = 512  # of a handler
JSON_BODY = "kitsu_json_body"
"""Key in the scope of the decoded JSON body."""
_PLACE = re.compile(r" - at `(?:key in )?\$(.*)`$", re.DOTALL)


class _QueryReader:
    """The query parameters of a handler, each with its choices by their lower case, if it has any."""

    def __init__(self, handler: BaseRouteHandler) -> None:
        self._choices = {
            _name_of(field): {choice.lower(): choice for choice in _choices(field.annotation)}
            for source in _sources(handler)
            for field in _fields(source, QueryParameter)
        }
        self.read_remembered = lru_cache(maxsize=MAX_REMEMBERED_QUERIES)(self.read)

    def read(self, query: bytes) -> tuple[bytes, list[str]]:
        """Return a query with the choices as they are declared, and the names of its unknown parameters."""
        choices = self._choices
        sent = parse_qsl(query.decode(), keep_blank_values=True)
        read = [(name, choices.get(name, {}).get(value.lower(), value)) for name, value in sent]
        unknown = dict.fromkeys(name for name, _ in sent if name not in choices and not name.startswith("_"))
        return query if read == sent else urlencode(read).encode(), list(unknown)


# Weak keys, since a handler refers to its application: a process of tests creates hundreds.
_readers: WeakKeyDictionary[BaseRouteHandler, _QueryReader] = WeakKeyDictionary()


def _choices(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for inner in get_args(annotation):
            yield from _choices(inner)


async def read_filters(request: Request[Any, Any, Any]) -> None:
    """Read choices in any case, and raise InvalidRequest for an unknown query parameter, except `_` and the like.

    The `before_request` hook of lists: without a filter that it wants, a client would take other rows for the wanted
    ones.
    """
    scope = request.scope
    if not scope["query_string"]:
        return
    handler, query = scope["route_handler"], scope["query_string"]
    reader = _readers.get(handler)
    if reader is None:
        reader = _readers[handler] = _QueryReader(handler)
    read = reader.read_remembered if len(query) <= MAX_REMEMBERED_BYTES else reader.read
    scope["query_string"], unknown = read(query)
    if unknown:
        details = [ErrorDetail(name, "Unknown parameter") for name in unknown]
        raise InvalidRequest.of(*details, *invalid_parameters(request, handler))


def invalid_parameters(connection: Connection, handler: BaseRouteHandler) -> list[ErrorDetail]:
    """Return the parameters of the path and the query that are missing or have a wrong value."""
    return [detail for source in _sources(handler) for detail in _invalid_parameters(connection, source)]


def _invalid_parameters(connection: Connection, source: Source) -> list[ErrorDetail]:
    details: dict[str, ErrorDetail] = {}
    values: dict[str, str] = {}
    for kind, sent in ((QueryParameter, connection.query_params), (PathParameter, connection.path_params)):
        for field in _fields(source, kind):
            name = _name_of(field)
            if name in sent:
                values[field.name] = sent[name]
                # msgspec takes it for None.
                if field.is_optional and sent[name].lower() == "null" and not field.has_inner_subclass_of(str):
                    details[name] = ErrorDetail(name, "Expected a value, got null")
            elif field.is_required:
                details[name] = ErrorDetail(name, "Missing")
    try:
        source.signature_model.parse_values_from_connection_kwargs(connection, values)
    except ValidationException as error:
        for each in error.extra if isinstance(error.extra, list) else ():
            if each.get("key") in values:
                name = _name_of(source.parsed_fn_signature.parameters[each["key"]])
                details.setdefault(name, ErrorDetail(name, each["message"]))
    except HTTPException:  # only what Litestar provides is missing
        pass
    return list(details.values())


def invalid_fields(value: Any, kind: Any) -> list[ErrorDetail]:
    """Return the fields of a JSON body that are unknown, are missing or have a wrong value."""
    if not (isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return []
    details = []
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name, field in fields.items():
        if name in value:
            try:
                msgspec.convert(value[name], field.type, strict=False)
            except msgspec.ValidationError as error:
                place = _PLACE.search(str(error))
                message = _PLACE.sub("", str(error))
                if repr(VISIBLE) in message:
                    message = "Must have a visible character"
                details.append(ErrorDetail(name + (place[1] if place else ""), message))
        elif field.required:
            details.append(ErrorDetail(name, "Missing"))
    if kind.__struct_config__.forbid_unknown_fields:
        details += [ErrorDetail(name, "Unknown field") for name in value if name not in fields]
    return details


def all_details(connection: Connection) -> list[ErrorDetail]:
    """Return all that is wrong with the parameters and the body of a request."""
    handler: Any = connection.scope["route_handler"]
    details = invalid_parameters(connection, handler)
    body = handler.parsed_fn_signature.parameters.get("data")
    if body is not None and JSON_BODY in connection.scope:
        details += invalid_fields(connection.scope[JSON_BODY], body.annotation)  # type: ignore[literal-required] # Kitsu's own
    return details


def _sources(handler: Any) -> Iterator[Source]:
    """Yield a handler and its dependencies."""
    yield handler
    provided = handler.resolve_dependencies()
    yield from (provided[name] for name in handler.parsed_fn_signature.parameters if name in provided)


def _fields(source: Source, kind: type[ParameterKwarg]) -> Iterator[Any]:
    fields = source.parsed_fn_signature.parameters.values()
    return (field for field in fields if isinstance(field.kwarg_definition, kind))


def _name_of(field: Any) -> str:
    """Return the name of a parameter as clients send it."""
    return str(field.kwarg_definition.name or field.name)
