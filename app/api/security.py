"""What the OpenAPI document says of API keys."""

from typing import Any

from fastapi import FastAPI

from app.access.rules import needed_scope

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key of `perdure keys create`."},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same."},
}


def say_who_may(app: FastAPI) -> None:
    """Let the document name, with each route that needs a key, the ways to give one, and the scope."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = described()
            document.setdefault("components", {})["securitySchemes"] = SCHEMES
            for path, methods in document["paths"].items():
                for method, route in methods.items():
                    if (scope := needed_scope(method.upper(), path)) is not None:
                        route["security"] = [{name: [scope]} for name in SCHEMES]
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
