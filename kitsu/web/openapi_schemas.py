"""The schemas and examples of the API description, in the form that generators of clients need."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.typing import FieldDefinition

Schema = dict[str, Any]

NULL: Schema = {"type": "null"}
BINARY: Schema = {"type": "string", "format": "binary"}
EXAMPLES: dict[str, Any] = {
    "uuid": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
    "date-time": "2026-11-22T08:39:35.276147Z",
    "boolean": True,
}
"""The examples of values without one of their own, by format or type."""
_LIMITS = {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "propertyNames"}
_SHAPE = {"type", "enum", "title", "description", "properties", "required", "additionalProperties"}


def complete_schemas(document: Schema, handlers: Iterable[HTTPRouteHandler]) -> None:
    """Correct the schemas of a document, describe its components, and make components of schemas with a title.

    Generators make a class for each component, and for other enums a class for each property.
    """
    components = document["components"]["schemas"]
    structs = {struct for handler in handlers for body in _bodies(handler) for struct in _structs(body)}
    _, described = msgspec.json.schema_components(structs)
    for name, component in components.items():
        component["description"] = described[name]["description"]
        if described[name].get("additionalProperties") is False:
            component["additionalProperties"] = False
        for field, schema in described[name].get("properties", {}).items():
            _add_limits(component["properties"][field], schema)
    for node in list(_nodes(document)):
        _correct(node)
    own = {id(component) for component in components.values()}
    nodes = [node for node in _nodes(document) if id(node) not in own]
    for node in filter(_is_titled, nodes):
        components.setdefault(node["title"], _component_of(node))
    enums = {tuple(component["enum"]): name for name, component in components.items() if "enum" in component}
    for node in nodes:
        title = node["title"] if _is_titled(node) else enums.get(tuple(node.get("enum", ())))
        if title is not None:
            _refer(node, title, components[title])
    document["components"]["schemas"] = dict(sorted(components.items()))


def add_examples(document: Schema, bodies: Iterable[Schema]) -> None:
    """Add an example to each body, made of the examples of its parts. Files have none."""
    for body in bodies:
        for media_type, content in body.get("content", {}).items():
            if media_type.startswith("image/"):
                content["schema"] = BINARY
            elif media_type != "multipart/form-data" and (example := _example(document, content["schema"])):
                content["example"] = example


def describe_success(document: Schema, response: Schema) -> str:
    """Return the description of a successful response: the one of its component, or Litestar's."""
    if "content" not in response:
        return "The request succeeded. The response has no body."
    schema = next(iter(response["content"].values()))["schema"]
    items = schema.get("items", {})
    if names := [each["$ref"].rpartition("/")[2] for each in items.get("oneOf", [items]) if "$ref" in each]:
        return f"A list of `{'` or `'.join(names)}`."
    return str((_component(document, schema) if "$ref" in schema else response)["description"])


def _bodies(handler: HTTPRouteHandler) -> Iterable[FieldDefinition]:
    declared = [FieldDefinition.from_annotation(spec.data_container) for spec in (handler.responses or {}).values()]
    return filter(None, [handler.parsed_return_field, handler.parsed_data_field, *declared])


def _structs(field: FieldDefinition) -> Iterator[type[msgspec.Struct]]:
    for inner in field.inner_types:
        yield from _structs(inner)
    if not field.inner_types and field.is_subclass_of(msgspec.Struct):
        yield field.annotation


def _nodes(part: Any) -> Iterator[Schema]:
    if isinstance(part, dict):
        yield from _nodes(list(part.values()))
        yield part
    elif isinstance(part, list):
        for value in part:
            yield from _nodes(value)


def _add_limits(node: Schema, described: Schema) -> None:
    """Add the limits that Litestar leaves out: of fields that may be left out, of items, and of the keys of objects."""
    for variant in described.get("anyOf", [described]):
        for own in node.get("oneOf", [node]):
            if own.get("type") == variant.get("type"):
                own |= {key: variant[key] for key in _LIMITS & (variant.keys() - own.keys() - node.keys())}
                if "items" in own and "items" in variant:
                    _add_limits(own["items"], variant["items"])


def _correct(node: Schema) -> None:
    """Correct one schema or parameter as Litestar writes it."""
    if len(node.get("oneOf", ())) == 1:  # a field that may be left out
        node |= node.pop("oneOf")[0]
    if NULL in node.get("oneOf", ()):
        node["anyOf"] = node.pop("oneOf")
    if None in node.get("enum", ()):
        enum = {"type": "string", "enum": [value for value in node.pop("enum") if value is not None]}
        if "title" in node:
            enum |= {key: node.pop(key) for key in ("title", "description")}
        del node["type"]
        node["anyOf"] = [enum, NULL]
    if "in" in node:
        node.pop("examples", None)  # Swagger UI would fill them in; the schema has them too
        _correct_parameter(node["schema"])
    if str(node.get("pattern", "")).endswith(r"\Z"):  # JSON Schema has the regular expressions of JavaScript
        node["pattern"] = node["pattern"].removesuffix(r"\Z") + "$"
    if node.get("type") == "integer":
        node |= {key: int(node[key]) for key in ("minimum", "maximum") if key in node}
    for kind, example in EXAMPLES.items():
        if kind in (node.get("format"), node.get("type")):
            node.setdefault("examples", [example])


def _correct_parameter(schema: Schema) -> None:
    # A parameter that may be left out can't be null. Its description is beside the schema.
    if "anyOf" in schema:
        schema |= schema.pop("anyOf")[0]
    if "title" not in schema:
        schema.pop("description", None)


def _is_titled(node: Schema) -> bool:
    return isinstance(node.get("title"), str) and "type" in node


def _component_of(node: Schema) -> Schema:
    component = {key: value for key, value in node.items() if key in _SHAPE}
    if any(value.startswith("-") for value in node.get("enum", ())):
        # The names of the members, since `-` can't be in one.
        names = [value.lstrip("-").upper() + "_DESC" * value.startswith("-") for value in node["enum"]]
        component["x-enum-varnames"] = names
    return component


def _refer(node: Schema, name: str, component: Schema) -> None:
    """Replace a schema by a reference to a component; what the component lacks stays beside it."""
    reference = {"$ref": f"#/components/schemas/{name}"}
    rest = {key: value for key, value in node.items() if key == "description" or key not in _SHAPE}
    if rest.get("description") == component["description"]:
        del rest["description"]
    node.clear()
    node |= {"allOf": [reference], **rest} if rest else reference


def _component(document: Schema, schema: Schema) -> Schema:
    component: Schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return component


def _example(document: Schema, schema: Schema) -> Any:
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return _example(document, _component(document, schema))
    for key in ("allOf", "anyOf", "oneOf"):
        if key in schema:
            return _example(document, schema[key][0])
    if "enum" in schema or "const" in schema:
        return schema.get("const") or schema["enum"][0]
    if "items" in schema:
        return [_example(document, schema["items"])]
    parts = {name: _example(document, part) for name, part in schema.get("properties", {}).items()}
    return {name: part for name, part in parts.items() if part is not None} or None
