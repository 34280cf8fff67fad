"""Scores of candidates from a remote server: it echoes prompt and candidate with their log-probabilities.

vLLM does, by `echo` and `logprobs` of the completions API, and what follows OpenAI's first API as closely.
"""

from llm.engine.interface import ScoreRequest, Scores
from llm.errors import RemoteServerError, RemoteUnavailableError, UnsupportedByEngineError
from llm.remote.reply import PATHS, owner_fields
from llm.remote.server import Json, RemoteServer
from llm.remote.stream import usage_of

PATH = PATHS["completions"]
LEAST_REPLY = 1
"""Tokens that a server generates whether they are wanted or not."""


async def scored(server: RemoteServer, model: str, request: ScoreRequest) -> Scores:
    """One request for each candidate, one after another: the server may know the prompt from the first.

    Runs on the server's loop. Raises UnsupportedByEngineError if it gives no such thing, RemoteServerError.
    """
    cached_tokens = 0
    logprobs: list[tuple[float, ...]] = []
    for index, candidate in enumerate(request.candidates):
        if not candidate:
            logprobs.append(())
            continue
        body: Json = {
            "model": model,
            "prompt": [*request.prompt, *candidate],
            "echo": True,
            "logprobs": 1,
            "max_tokens": LEAST_REPLY,
            "temperature": 0,
            **owner_fields(request.owner),
        }
        answer = await _answer(server, body)
        logprobs.append(_logprobs(server, answer, len(request.prompt), len(candidate)))
        if index == 0 and (usage := usage_of(answer)) is not None:
            cached_tokens = min(usage.cached_tokens, len(request.prompt))
    return Scores(tuple(logprobs), cached_tokens)


async def _answer(server: RemoteServer, body: Json) -> Json:
    try:
        return await server.answer(PATH, body)
    except RemoteUnavailableError:
        raise
    except RemoteServerError as error:
        if error.status is None or error.status >= 500:
            raise
        raise UnsupportedByEngineError(f"the server does not score: {error}") from error


def _logprobs(server: RemoteServer, answer: Json, prompt_tokens: int, tokens: int) -> tuple[float, ...]:
    try:
        echoed = answer["choices"][0]["logprobs"]["token_logprobs"]
        # Without an echo there is only the token that had to be generated.
        if len(echoed) == prompt_tokens + tokens + LEAST_REPLY:
            return tuple(float(each) for each in echoed[prompt_tokens : prompt_tokens + tokens])
    except (KeyError, IndexError, TypeError, ValueError):
        pass
    raise UnsupportedByEngineError(f"{server.shown_url}{PATH} gives no log-probabilities of a prompt")
