"""Settings, read from the environment (`PERDURE_*`) and from `.env` in the working folder."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from memory.strategies import parse_strategy

MOST = 2**31 - 1


class SettingsError(Exception):
    """Settings that do not go together, or not with the model; the message names them."""


class SamplingDefaults(BaseModel):
    """What a request that does not say otherwise is sampled with."""

    temperature: float = Field(0.7, ge=0, le=10)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    min_p: float = Field(0.0, ge=0, le=1)
    # No penalty: it acts on the words of the persona too, and a small model soon avoids its own name.
    repetition_penalty: float = Field(1.0, gt=0, le=10)


class Settings(BaseSettings):
    """Every setting has a default; the service runs without any."""

    model_config = SettingsConfigDict(
        env_prefix="PERDURE_",
        env_file=".env",
        env_nested_delimiter="__",
        extra="ignore",
        hide_input_in_errors=True,  # it may be a password
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    require_key: bool = Field(
        False, description="Let nobody in without an API key; so it is anyway where others can connect."
    )
    api_key: SecretStr | None = Field(
        None, min_length=1, description="The API key that `perdure chat` and its like give to a service."
    )
    cors_origins: list[Annotated[str, Field(pattern=r"^https?://[^/*]+$")]] = Field(
        [], description='Web pages that may use the service: `["https://chat.example.org"]`.'
    )
    allowed_hosts: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+$")]] = Field(
        [], description="Names beside localhost by which a service that asks for no key may be called."
    )
    requests_per_minute: Annotated[int, Field(ge=1, le=MOST)] | None = Field(
        None, description="Requests a minute of a new API key, unless it is made with others; none: any."
    )
    tokens_per_minute: Annotated[int, Field(ge=1, le=MOST)] | None = Field(
        None, description="Likewise, tokens of prompts and replies a minute."
    )
    stored_mb: Annotated[int, Field(ge=1, le=MOST)] | None = Field(
        None, description="Likewise, MiB of messages and documents that may be stored."
    )
    concurrent_generations: Annotated[int, Field(ge=1, le=MOST)] | None = Field(
        None, description="Likewise, replies that are generated or wait at a time."
    )
    home: Path = Field(
        default_factory=lambda: Path.home() / ".perdure", description="Folder of all that is stored."
    )
    models: Path | None = Field(None, description="Folder of the models; by default `models` in the home.")
    database_url: SecretStr | None = Field(
        None, description="PostgreSQL database, `postgresql://user:password@host/name`; none: a SQLite file."
    )

    model: str = Field(
        "smollm2-135m-instruct", description="Model by name, by path (GGUF or safetensors folder) or hub id."
    )
    device: str = Field(
        "cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="Where the model runs: `cpu`, `cuda`, `cuda:1`."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Number format of the weights; auto: bfloat16 with AMX or CUDA, else float32."
    )
    decode_weights: Literal["same", "int8", "int4"] = Field(
        "same", description="What replies are generated with: the same weights as prompts, or packed ones."
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="CPU threads of the model; by default one for each core."
    )
    persona_share: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="A persona counts as copies of it, this share of what was said; with 0 it fades. By "
        "default what was found good for the model that comes along, and 0 for others.",
    )
    context_window: Annotated[int, Field(ge=256)] | None = Field(
        None, description="Tokens of prompt and reply together; by default, and at most, the model's own."
    )
    reply_tokens: int = Field(
        256, ge=1, description="`max_tokens` of a request that does not say; kept free in every context."
    )
    sampling: SamplingDefaults = SamplingDefaults()
    memory: dict[str, Any] = Field(
        default={"strategy": "token_buffer"}, description="Memory of a session that does not say."
    )

    remote_url: str | None = Field(
        None, pattern=r"^https?://", description="OpenAI-compatible server that runs the model; none: we do."
    )
    remote_model: str | None = Field(
        None, description="The model's name on that server; its only one if none."
    )
    remote_api: Literal["auto", "completions", "chat"] = Field(
        "auto", description="Prompts as token ids (completions) or as messages (chat)."
    )
    remote_tokenizer: str | None = Field(
        None, description="Tokeniser of the remote model by name, path or hub id; by default the server's."
    )
    remote_key: SecretStr | None = Field(None, description="API key of the server.")
    remote_timeout_s: float = Field(
        120.0, gt=0, description="Longest wait for the server's first byte, and between two, in seconds."
    )
    remote_retries: int = Field(
        3, ge=0, le=10, description="Further tries of a request that the server has not begun to answer."
    )

    embedding_model: str = Field(
        "all-minilm-l6-v2",
        min_length=1,
        description="Sentence-embedding model of recall: its packaged name, a folder, or a hub id.",
    )
    reranker: str | None = Field(
        None,
        min_length=1,
        description="Cross-encoder that re-orders what recall found: a folder or a hub id.",
    )
    chroma_url: str | None = Field(
        None, pattern=r"^https?://", description="Chroma server that keeps the vectors; none: this process."
    )

    max_running: int = Field(16, ge=1, description="Replies that are generated together; others wait.")
    max_waiting_tokens: int = Field(
        16384, ge=1, description="Tokens of prompts that may wait to be computed; past it, requests get 429."
    )
    queue_timeout_s: float = Field(
        60.0, gt=0, description="How long a request waits for the model before it is given up, in seconds."
    )
    kv_cache_mb: int = Field(
        1024, ge=1, description="Memory for keys and values, of running replies and cached, in MiB."
    )
    kv_disk_mb: int = Field(
        2048, ge=0, description="Disk for keys and values of idle chats, in MiB; 0 keeps none."
    )
    prompt_lookup: bool = Field(
        True, description="Guess what a reply repeats of its context, and check several tokens in one step."
    )
    busy_wait_s: float = Field(
        120.0, gt=0, description='How long a message sent with `"if_busy": "wait"` waits for its session.'
    )
    checkpoint_s: float = Field(
        1.0, gt=0, description="How often a reply is stored while it is being generated, in seconds."
    )
    resume_s: float = Field(
        60.0,
        ge=0,
        description="How long a request with an Idempotency-Key goes on without a client, and how long its"
        " stream can be resumed after its end, in seconds.",
    )
    resume_mb: int = Field(
        32, ge=0, description="Memory for answers to such requests after their end, in MiB."
    )
    max_body_mb: int = Field(8, ge=1, description="Largest request body, in MiB.")
    document_mb: int = Field(32, ge=1, le=1024, description="Largest document, in MiB.")
    document_pages: int = Field(2000, ge=1, description="Pages that a document may have.")
    document_cells: int = Field(500_000, ge=1, description="Cells that the tables of a document may have.")
    document_unpacked_mb: int = Field(
        256, ge=1, description="What an Office file, a ZIP container, may unpack to, in MiB."
    )
    document_timeout_s: int = Field(
        120, ge=1, le=3600, description="Longest time that reading a document may take, in seconds."
    )
    document_memory_mb: int = Field(
        1024, ge=256, description="Memory that reading a document may take, in MiB."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"

    @field_validator("home", "models", mode="after")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        return folder.expanduser().resolve() if folder else None

    @field_validator("database_url", mode="after")
    @classmethod
    def _known_database(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not re.match(r"postgres(ql)?://.", url.get_secret_value()):
            raise ValueError("should begin with postgresql://; without it a SQLite file in the home is used")
        return url

    @field_validator("memory", mode="after")
    @classmethod
    def _known_strategy(cls, memory: dict[str, Any]) -> dict[str, Any]:
        try:
            return parse_strategy(memory).model_dump(mode="json")
        except Exception as error:
            raise ValueError(str(error)) from error

    @property
    def models_folder(self) -> Path:
        return self.models or self.home / "models"

    @property
    def kv_folder(self) -> Path | None:
        """Where keys and values of idle chats are kept; None if nowhere."""
        return self.home / "kv" if self.kv_disk_mb else None

    @property
    def documents_folder(self) -> Path:
        """Where files lie until they have been read."""
        return self.home / "documents"

    @property
    def recall_folder(self) -> Path:
        """Where the indexes of recall are."""
        return self.home / "recall"

    @property
    def database_path(self) -> Path:
        """The SQLite file, which is there without a `database_url`."""
        return self.home / "perdure.sqlite3"

    @property
    def database(self) -> Path | str:
        """Where all that is said is stored: the SQLite file, or the URL of the PostgreSQL database."""
        return self.database_url.get_secret_value() if self.database_url else self.database_path
