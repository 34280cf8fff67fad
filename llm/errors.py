"""Everything that `llm` raises on purpose."""


class ModelError(Exception):
    """Base of this package's errors; the message names what was wrong and where."""


class ModelNotFoundError(ModelError):
    """No model of that name, path or hub id can be had."""


class UnsupportedModelError(ModelError):
    """The model is there, but its architecture or format is not one that is supported."""


class CorruptModelError(ModelError):
    """A model file does not have the hash or the contents that it should have."""


class PromptTooLongError(ModelError):
    """Prompt and reply together pass the context window."""

    def __init__(self, prompt_tokens: int, max_tokens: int, context_window: int) -> None:
        super().__init__(
            f"a prompt of {prompt_tokens} tokens and a reply of up to {max_tokens} pass "
            f"the context window of {context_window} tokens"
        )
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.context_window = context_window


class QueueFullError(ModelError):
    """Too much waits for the engine; try again after `retry_after_s` seconds."""

    def __init__(self, waiting_tokens: int, retry_after_s: int) -> None:
        super().__init__(f"prompts of {waiting_tokens} tokens already wait for the engine")
        self.waiting_tokens = waiting_tokens
        self.retry_after_s = retry_after_s


class QueueTimeoutError(ModelError):
    """A request waited `waited_s` seconds for the engine, longer than it may."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"the request waited {waited_s:.0f} s for the model without its turn coming")
        self.waited_s = waited_s


class EngineClosedError(ModelError):
    """The engine has been shut down."""


class UnsupportedByEngineError(ModelError):
    """The engine cannot do this at all, with the server behind it."""


class RemoteServerError(ModelError):
    """A remote server refused, failed, or answered what makes no sense; the message names URL and reason.

    `status` is the HTTP status, where there was one.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RemoteUnavailableError(RemoteServerError):
    """A remote server cannot be reached or is overloaded: another try may do.

    `retry_after_s`: what the server asks to wait, in seconds.
    """

    def __init__(self, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, status)
        self.retry_after_s = retry_after_s
