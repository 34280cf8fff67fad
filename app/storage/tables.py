"""The tables. Every row names its owner; rows derived from messages can be dropped and rebuilt."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    Boolean,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from memory.lore import DEFAULT_SCAN_DEPTH, DEFAULT_TOKEN_BUDGET


class UtcDateTime(TypeDecorator[datetime]):
    """Times with their zone, on databases that keep it and on those that do not (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[dict[str, Any]]: JSON,
        list[str]: JSON,
    }


class Owned:
    """What every table has: the owner of the row."""

    owner: Mapped[str] = mapped_column(String(64))


class PersonaRow(Owned, Table):
    """A persona; what it says is in the revision that `revision` names. `public`: the cached keys and values
    of its text may serve other owners, too.
    """

    __tablename__ = "personas"
    __table_args__ = (Index("ix_personas_listing", "owner", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    revision: Mapped[int] = mapped_column(Integer)
    public: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PersonaRevisionRow(Owned, Table):
    """What a persona said from one change to the next. Never rewritten: context records rest on it."""

    __tablename__ = "persona_revisions"

    persona_id: Mapped[str] = mapped_column(ForeignKey("personas.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    instructions: Mapped[str] = mapped_column(Text)
    examples: Mapped[list[dict[str, Any]]]
    greeting: Mapped[str | None] = mapped_column(Text)
    style: Mapped[str] = mapped_column(Text)
    facts: Mapped[list[str]]
    speech_rules: Mapped[list[dict[str, Any]]]
    forbidden_phrases: Mapped[list[str]]
    user_name: Mapped[str | None] = mapped_column(Text)
    alternate_greetings: Mapped[list[str]]
    reminder: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime]


class PersonaCardRow(Owned, Table):
    """The character card that a persona was imported from."""

    __tablename__ = "persona_cards"

    persona_id: Mapped[str] = mapped_column(ForeignKey("personas.id", ondelete="CASCADE"), primary_key=True)
    card: Mapped[dict[str, Any]]
    book: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class SessionRow(Owned, Table):
    """A chat session and its settings. `instructions`: in the place of its persona's, None for those.
    `client_metadata`: what clients of OpenAI's API keep with it as a conversation.
    """

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_listing", "owner", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str | None] = mapped_column(String(256), index=True)
    user_name: Mapped[str | None] = mapped_column(Text)
    persona_id: Mapped[str | None] = mapped_column(ForeignKey("personas.id"), index=True)
    title: Mapped[str | None] = mapped_column(Text)
    memory: Mapped[dict[str, Any]]
    prefixes: Mapped[bool] = mapped_column(Boolean, default=False)
    instructions: Mapped[str | None] = mapped_column(Text)
    lore_scan_depth: Mapped[int] = mapped_column(Integer, default=DEFAULT_SCAN_DEPTH)
    lore_token_budget: Mapped[int] = mapped_column(Integer, default=DEFAULT_TOKEN_BUDGET)
    client_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", key="client_metadata", default=dict)
    branched_from_session: Mapped[str | None] = mapped_column(String(32))
    branched_from_message: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    kept_up_at: Mapped[datetime | None]
    """The `updated_at` that its upkeep has reached; another one: what is derived from it may lag."""

    @property
    def branched_from(self) -> dict[str, str | None] | None:
        if self.branched_from_session is None:
            return None
        return {"session_id": self.branched_from_session, "message_id": self.branched_from_message}


class SessionPersonaRow(Owned, Table):
    """The persona, deleted since perhaps, that a session was given from `turn` on, and the `instructions`
    in the place of its own, if any. `number` counts them."""

    __tablename__ = "session_personas"

    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    turn: Mapped[int] = mapped_column(Integer)
    persona_id: Mapped[str | None] = mapped_column(String(32))
    instructions: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]


class MessageRow(Owned, Table):
    """A message, in the tree of its session: `parent_id` is the message before it, if any.

    The active path is the chat as it stands: one message for each `position`, which orders it; `turn`
    groups it. `alternative` numbers the messages that share a parent, oldest first. `created_at` is when
    it was said. `status`: `complete`, `generating` (stored so far), or `interrupted`; `deleted` is an empty
    place, of which nothing is shown: what stands behind it keeps its position and turn. `prefix`: what was
    typed before the content (`app.chat.prefixes`); `sources`: of a reply from documents, where they say it.
    """

    __tablename__ = "messages"
    __table_args__ = (
        Index(
            "ix_messages_active_path",
            "session_id",
            "position",
            unique=True,
            sqlite_where=text("is_active"),
            postgresql_where=text("is_active"),
        ),
        Index("ix_messages_turn", "session_id", "turn"),
        Index("ix_messages_alternatives", "parent_id", "session_id"),
        Index("ix_messages_created_at", "created_at"),
        Index(
            "ix_messages_generating",
            "status",
            sqlite_where=text("status = 'generating'"),
            postgresql_where=text("status = 'generating'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("messages.id"))
    alternative: Mapped[int] = mapped_column(Integer)
    position: Mapped[int] = mapped_column(Integer)
    turn: Mapped[int] = mapped_column(Integer)
    is_active: Mapped[bool] = mapped_column(Boolean)
    forgotten_at: Mapped[datetime | None]
    copied_from: Mapped[str | None] = mapped_column(String(32))
    role: Mapped[str] = mapped_column(String(16))
    prefix: Mapped[str | None] = mapped_column(Text)
    content: Mapped[str] = mapped_column(Text)
    sources: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    status: Mapped[str] = mapped_column(String(16))
    finish_reason: Mapped[str | None] = mapped_column(String(16))
    model: Mapped[str | None] = mapped_column(Text)
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime]

    @property
    def is_note(self) -> bool:
        """Whether it is a note to its reply alone: it stands in no later window."""
        return self.role == "system" and self.prefix is not None


ON_ACTIVE_PATH = text("messages.is_active")
"""The condition of the index of active paths in its own words: written in others (`is_active = 1`), SQLite
does not use that index, and walks the session to order it by position."""


class LoreEntryRow(Owned, Table):
    """An entry of a session's lorebook: with a text of its own, or with that of a message of the session."""

    __tablename__ = "lore_entries"
    __table_args__ = (UniqueConstraint("session_id", "number"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    message_id: Mapped[str | None] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    content: Mapped[str | None] = mapped_column(Text)
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class MessageMarkRow(Owned, Table):
    """What the owner wants of a message from one time to another: it is `pinned`, or `excluded`."""

    __tablename__ = "message_marks"
    __table_args__ = (
        Index(
            "ix_message_marks_standing",
            "message_id",
            "kind",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class SampledTokensRow(Owned, Table):
    """The token ids that a reply was generated as, chat template included; its text may encode to others."""

    __tablename__ = "sampled_tokens"

    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True)
    token_ids: Mapped[bytes] = mapped_column(LargeBinary)
    fingerprint: Mapped[str] = mapped_column(String(64))


class MessageTokensRow(Owned, Table):
    """Derived: the token ids of a message on the active path, chat template included, under one tokeniser.

    `tokens_before` sums all earlier messages of the path. Excluded messages count for none. Rows exist for an
    unbroken run of messages from the first one on.
    """

    __tablename__ = "message_tokens"
    __table_args__ = (Index("ix_message_tokens_window", "session_id", "opens_turn", "tokens_before"),)

    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    turn: Mapped[int] = mapped_column(Integer)
    opens_turn: Mapped[bool] = mapped_column(Boolean)
    token_ids: Mapped[bytes] = mapped_column(LargeBinary)
    token_count: Mapped[int] = mapped_column(Integer)
    is_excluded: Mapped[bool] = mapped_column(Boolean)
    tokens_before: Mapped[int] = mapped_column(Integer)
    fingerprint: Mapped[str] = mapped_column(String(64))


class ContextRecordRow(Owned, Table):
    """What was in the window when a reply was generated, and what of it came from the cache."""

    __tablename__ = "context_records"

    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    record: Mapped[dict[str, Any]]


class SummaryRow(Owned, Table):
    """Derived: the turns before `through_turn` in short, by one recipe. Never rewritten, only added to.

    It stands in windows that begin with `enters_at` or a later turn, as long as it `is_current`: others are
    kept for the context records that name them. `token_ids` are under one tokeniser and template, like those
    of messages.
    """

    __tablename__ = "summaries"
    __table_args__ = (Index("ix_summaries_newest", "session_id", "recipe", "through_turn"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    recipe: Mapped[str] = mapped_column(String(32))
    through_turn: Mapped[int] = mapped_column(Integer)
    enters_at: Mapped[int] = mapped_column(Integer)
    is_current: Mapped[bool] = mapped_column(Boolean)
    author: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    token_ids: Mapped[bytes] = mapped_column(LargeBinary)
    fingerprint: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
