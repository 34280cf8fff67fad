"""What listings answer with, whatever they list."""

from typing import Generic, TypeVar

from pydantic import BaseModel

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A page of a listing. Pass `next_cursor` as `cursor` for the next one; null: this is the last."""

    data: list[Item]
    next_cursor: str | None


class ListView(BaseModel, Generic[Item]):
    data: list[Item]
