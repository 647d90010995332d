"""What the service's own answers look like, as pydantic models: the source of their schemas in the OpenAPI document.

The record has one schema of its own (`record.schema.json`), which every way in shares.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_PAIR = Field(min_length=2, max_length=2)


class Limit(BaseModel):
    """A limit of the service, by the name it is set with."""

    name: str
    value: float


class Refusal(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(extra="forbid")

    code: str
    message: str
    limit: Limit | None = Field(description="The limit that was met, or null.")


class Error(BaseModel):
    """The body of every refusal."""

    model_config = ConfigDict(extra="forbid")

    error: Refusal


class Maps(BaseModel):
    """Where the network looked. Each map covers the whole aligned crop."""

    kind: Literal["class_activation", "region", "group_attention", "branch_activation", "activation"]
    size: Annotated[list[int], _PAIR]
    crop_size: Annotated[list[int], _PAIR]
    crop_from_image: Annotated[list[list[float]], _PAIR]
    values: dict[str, list[list[float]]]


def schemas(*models: type[BaseModel]) -> dict[str, Any]:
    """Return the schemas of models and of what they hold, by name, their references within the OpenAPI document."""
    found: dict[str, Any] = {}
    for model in models:
        document = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= document.pop("$defs", {}) | {model.__name__: document}
    return found
