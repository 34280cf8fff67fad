"""How much an owner, or one of its users, has stored."""

from typing import Any

from sqlalchemy import func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import Integer

from app.storage.recall_tables import DocumentRow
from app.storage.repository import Repository
from app.storage.tables import MessageRow


class octets(GenericFunction[int]):  # noqa: N801, named as in SQL
    """Bytes of a text in UTF-8."""

    type = Integer()
    inherit_cache = True


@compiles(octets)
def _octet_length(element: Any, compiler: Any, **options: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **options)})"


@compiles(octets, "sqlite")
def _length_of_blob(element: Any, compiler: Any, **options: Any) -> str:
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"


class StoredBytes(Repository):
    """What counts is what was given: the text of messages, and the files of documents."""

    async def count(self) -> int:
        said = self.select_columns(MessageRow, func.coalesce(func.sum(octets(MessageRow.content)), 0))
        given = self.select_columns(DocumentRow, func.coalesce(func.sum(DocumentRow.bytes), 0))
        return int((await self.session.execute(said)).scalar_one()) + int(
            (await self.session.execute(given)).scalar_one()
        )
