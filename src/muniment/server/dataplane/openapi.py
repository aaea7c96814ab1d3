"""OpenAPI, made from the table of routes and the message types.

python -m muniment.server.dataplane.openapi > docs/reference/openapi.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec

from muniment import __version__
from muniment.wire.errors import RULES, ErrorCode
from muniment.wire.messages import PREFIX, ErrorReply
from muniment.wire.routes import ROUTES, Auth, Kind, Parameter, Route

_COMMON = (ErrorCode.MALFORMED, ErrorCode.INTERNAL, ErrorCode.UNAVAILABLE)
_AUTHENTICATED = (ErrorCode.UNAUTHENTICATED, ErrorCode.NOT_GRANTED)
_OCTETS = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def describe_api() -> dict[str, Any]:
    """The document, in a stable order."""
    types = sorted(
        {kind for route in ROUTES for kind in (route.request, route.reply) if kind and _is_message(kind)}
        | {ErrorReply},
        key=lambda kind: kind.__name__,
    )
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Muniment data plane",
            "version": __version__.partition("+")[0],
            "description": "Requests of devices. docs/design/protocol.md says what they mean.",
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _is_message(kind: type) -> bool:
    return issubclass(kind, msgspec.Struct)


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary}
    parameters = [
        *(_path_parameter(part[1:-1]) for part in route.path.split("/") if part.startswith("{")),
        *(_parameter(parameter, "query") for parameter in route.query),
        *(_parameter(parameter, "header") for parameter in route.headers),
    ]
    if route.name == "get_pack":
        range_schema = {"type": "string", "pattern": "^bytes=[0-9]{1,18}-([0-9]{1,18})?$"}
        parameters.append({"name": "Range", "in": "header", "required": False, "schema": range_schema})
    if parameters:
        operation["parameters"] = parameters
    if route.request is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.request)}
    operation["responses"] = _responses(route)
    operation["security"] = [] if route.auth is Auth.NONE else [{"token": []}]
    return operation


def _responses(route: Route) -> dict[str, Any]:
    success: dict[str, Any] = {"description": route.summary}
    if route.reply is not None:
        success["content"] = _content(route.reply)
    responses = {str(route.status): success}
    if route.name == "get_pack":
        responses["206"] = success
    codes = [*_COMMON, *route.errors, *(() if route.auth is Auth.NONE else _AUTHENTICATED)]
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(RULES[code].status, []).append(code.value)
    for status in sorted(by_status):
        responses[str(status)] = {
            "description": "`" + "`, `".join(sorted(by_status[status])) + "`",
            "content": _content(ErrorReply),
        }
    return responses


def _content(kind: type) -> dict[str, Any]:
    if kind is bytes:
        return _OCTETS
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"} if _is_message(kind) else {"type": "object"}
    return {"application/json": {"schema": schema}}


def _path_parameter(name: str) -> dict[str, Any]:
    kind = Kind.SNAPSHOT if name == "snapshot" else Kind.ID
    return _parameter(Parameter(name, kind), "path")


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": place,
        "required": parameter.required,
        "schema": _schema(parameter),
    }
    if parameter.about:
        described["description"] = parameter.about
    return described


def _schema(parameter: Parameter) -> dict[str, Any]:
    match parameter.kind:
        case Kind.ID:
            return {"type": "string", "pattern": "^[0-9a-f]{32}$"}
        case Kind.SNAPSHOT | Kind.DIGEST:
            return {"type": "string", "pattern": "^[0-9a-f]{64}$"}
        case Kind.NUMBER:
            return {"type": "integer", "minimum": 0, "maximum": parameter.maximum}


def api_document() -> str:
    """The description as it is served and kept."""
    return json.dumps(describe_api(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(api_document())
