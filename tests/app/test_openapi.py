"""Whatever is sent to the addresses of the OpenAPI document, the answer is one that the document knows.

`make fuzz` sends far more than `make test` does, and something else each time.
"""

import os
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
import schemathesis
from schemathesis.checks import CheckFunction, negative_data_rejection, response_schema_conformance

from app.models.chat import ChatModel
from app.models.embedding import SentenceEmbedder
from app.server import create_app
from app.settings import Settings
from llm.text.chat_format import ChatTokenizer
from tests.app.things import Things
from tests.app.tiny_service import tiny_service

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""Requests of each kind to each address; 0: a few that are the same in each run."""

# What a valid request asks for may not be there, or not fit; no key is asked for here; and an address may be
# of several paths of the document, so that it takes more methods than one of them.
NOT_CHECKED = (
    "positive_data_acceptance",
    "ensure_resource_availability",
    "use_after_free",
    "ignored_auth",
    "allow_header_conformance",
    "unsupported_method",
)

API = schemathesis.openapi.from_dict(
    create_app(Settings(), cast(ChatModel, None)).openapi(),  # the document is the same for any model
    config=schemathesis.Config.from_dict(
        {
            "checks": {
                **{name: {"enabled": False} for name in NOT_CHECKED},
                "negative_data_rejection": {"expected-statuses": ["4xx"]},
            },
            "generation": {"max-examples": EXAMPLES or 2, "deterministic": not EXAMPLES, "no-shrink": True},
            "phases": {"coverage": {"enabled": bool(EXAMPLES)}},
        }
    ),
)


@pytest.fixture(scope="module")
def client(
    chat_tokenizer: ChatTokenizer, embedder: SentenceEmbedder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    with (
        tiny_service(tmp_path_factory.mktemp("tiny"), chat_tokenizer, embedder) as url,
        httpx.Client(base_url=url, timeout=120) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def things(client: httpx.Client) -> Things:
    return Things(client)


@API.parametrize()
def test_every_answer_is_one_that_the_document_knows(
    case: schemathesis.Case[Any], client: httpx.Client, things: Things
) -> None:
    """Of things that are there, and of whatever else is named."""
    check(case, client)
    if case.path_parameters:
        case.path_parameters.update(things.of(case.operation.label))
        check(case, client, negative_data_rejection)  # what was wrong may have been the id


def check(case: schemathesis.Case[Any], client: httpx.Client, *excluded: CheckFunction) -> None:
    answer = case.call(base_url=str(client.base_url), timeout=120)
    if "x-request-id" not in answer.headers:
        # The web server's own answer to what is no request, as to an address of 100,000 characters.
        assert answer.status_code == 400
        return
    if "text/event-stream" in answer.headers.get("content-type", [""])[0]:
        excluded = (*excluded, response_schema_conformance)
    case.validate_response(answer, excluded_checks=list(excluded))
