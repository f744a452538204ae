"""The schemas of the API description, for handlers that the API has none of yet."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from litestar import Litestar, get, post
from litestar.params import JSONBody, QueryParameter
from msgspec import UNSET, Meta, UnsetType

from kitsu.web.openapi import openapi_config, openapi_schema

Colour = Annotated[Literal["red", "-red"], Meta(title="Colour", description="A colour.")]
Size = Literal["small", "large"]


class Shirt(msgspec.Struct):
    """A shirt."""

    colour: Colour
    lining: Colour | None
    size: Size | None
    price: Annotated[int, Meta(ge=1, le=99, examples=[20])] | UnsetType = UNSET


@get("/shirts")
async def list_shirts(
    colour: Annotated[Colour | None, QueryParameter(description="Only this colour.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> list[Shirt]:
    """List shirts."""
    raise NotImplementedError


@post("/shirts")
async def add_shirt(data: JSONBody[Shirt]) -> Shirt:
    """Add a shirt."""
    raise NotImplementedError


@get("/names")
async def list_names() -> list[str]:
    raise NotImplementedError


@get("/name")
async def get_name() -> str:
    raise NotImplementedError


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_schema(
        Litestar([list_shirts, add_shirt, list_names, get_name], openapi_config=openapi_config("Shirts"))
    )


def test_enum_with_title_is_one_component(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    reference = {"$ref": "#/components/schemas/Colour"}
    assert schemas["Colour"] == {
        "type": "string",
        "title": "Colour",
        "description": "A colour.",
        "enum": ["red", "-red"],
        "x-enum-varnames": ["RED", "RED_DESC"],
    }
    assert schemas["Shirt"]["properties"]["colour"] == reference
    assert schemas["Shirt"]["properties"]["lining"] == {"anyOf": [reference, {"type": "null"}]}
    (colour, _) = document["paths"]["/shirts"]["get"]["parameters"]
    assert (colour["schema"], colour["description"]) == (reference, "Only this colour.")


def test_enum_without_title_stays_in_its_property(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["Shirt"]["properties"]["size"] == {
        "anyOf": [{"type": "string", "enum": ["small", "large"]}, {"type": "null"}]
    }


def test_limits_of_integers_are_integers(document: dict[str, Any]) -> None:
    price = document["components"]["schemas"]["Shirt"]["properties"]["price"]
    (_, limit) = document["paths"]["/shirts"]["get"]["parameters"]
    for schema, maximum in ((price, 99), (limit["schema"], 100)):
        assert (schema["minimum"], schema["maximum"]) == (1, maximum)
        assert isinstance(schema["maximum"], int)


def test_bodies_have_descriptions_and_examples(document: dict[str, Any]) -> None:
    shirt = {"colour": "red", "lining": "red", "size": "small", "price": 20}
    operation = document["paths"]["/shirts"]["post"]
    assert document["components"]["schemas"]["Shirt"]["description"] == "A shirt."
    assert operation["requestBody"]["content"]["application/json"]["example"] == shirt
    assert operation["responses"]["201"]["description"] == "A shirt."
    listed = document["paths"]["/shirts"]["get"]["responses"]["200"]
    assert listed["description"] == "A list of `Shirt`."
    assert listed["content"]["application/json"]["example"] == [shirt]


@pytest.mark.parametrize("path", ["/name", "/names"])
def test_handler_without_struct_and_docstring_is_described(document: dict[str, Any], path: str) -> None:
    operation = document["paths"][path]["get"]
    assert operation["summary"]
    assert operation["responses"]["200"]["description"]
