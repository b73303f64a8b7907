"""The API description of an application."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from zkmargin.service.http import problems
from zkmargin.service.http.domain import Domain


@lru_cache
def _examples() -> dict[str, Any]:
    """Examples of models, from a real session."""
    tree: dict[str, Any] = json.loads(
        resources.files("zkmargin.service.http.routes").joinpath("examples.json").read_bytes()
    )
    return tree


def tags_of(domains: Sequence[Domain]) -> list[dict[str, str]]:
    """The tags that domains describe."""
    return [{"name": name, "description": about} for domain in domains for name, about in domain.tags.items()]


def describe(app: FastAPI, domains: Sequence[Domain], security: Mapping[str, Any]) -> None:
    """The OpenAPI document: FastAPI's own, without the answers that this service never gives, with its problems."""

    models: list[type[BaseModel]] = [problems.Problem]
    for domain in domains:
        models.extend(domain.models)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            tree = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=tags_of(domains),
            )
            for path in tree["paths"].values():
                for operation in path.values():
                    answer = operation["responses"].get("422", {})
                    if "HTTPValidationError" in str(answer.get("content", {}).get("application/json", "")):
                        del answer["content"]["application/json"]
            if security:
                tree.setdefault("components", {}).setdefault("securitySchemes", {}).update(security)
            schemas = tree["components"].setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            _, more = models_json_schema(
                [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
            )
            schemas.update(more["$defs"])
            for name, example in _examples().items():
                if name in schemas:
                    # After FastAPI, which drops members that are null from examples.
                    schemas[name]["examples"] = [example]
            app.openapi_schema = tree
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
