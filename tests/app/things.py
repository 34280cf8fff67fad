"""One thing of each kind that a service keeps, so that requests made up at random can be about them."""

from typing import Any

import httpx


class Things:
    """Things that are there, by the names that their ids have in the paths of the API."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._ids = make_things(client)
        self._last = ""

    def of(self, operation: str) -> dict[str, str]:
        """The ids in the path of an operation, `GET /v1/...`: new ones, where the one before deleted."""
        if operation != self._last and self._last.startswith(
            ("DELETE", "POST /v1/sessions/{session_id}/forget")
        ):
            self._ids = make_things(self._client)
        self._last = operation
        return {name: value for name, value in self._ids.items() if f"{{{name}}}" in operation}


def make_things(client: httpx.Client) -> dict[str, str]:
    """The ids of new things."""

    def made(path: str, **body: Any) -> Any:
        answer = client.post(path, **body)
        assert answer.is_success, answer.text
        return answer.json()

    model = client.get("/v1/models").json()["data"][0]["id"]
    persona = made("/v1/personas", json={"name": "Anne", "instructions": "You are a sailor."})
    session = made("/v1/sessions", json={"persona_id": persona["id"], "user_id": "mina"})
    at = f"/v1/sessions/{session['id']}"
    turn = made(f"{at}/messages", json={"content": "Hello there.", "max_tokens": 2})
    entry = made(f"{at}/lorebook/entries", json={"keys": ["whale"], "content": "The whale is white."})
    fact = made(f"{at}/facts", json={"key": "home", "value": "Nantucket"})
    document = made("/v1/documents", files={"file": ("log.txt", b"The whale was seen at noon.")})
    conversation = made("/v1/conversations", json={"items": [{"role": "user", "content": "Hi."}]})
    items = client.get(f"/v1/conversations/{conversation['id']}/items").json()["data"]
    response = made("/v1/responses", json={"model": model, "input": "Hi.", "max_output_tokens": 2})
    deletion = client.delete(f"/v1/sessions/{made('/v1/sessions', json={})['id']}").json()
    return {
        "persona_id": persona["id"],
        "session_id": session["id"],
        "user_id": "mina",
        "message_id": turn["message"]["id"],
        "entry_id": entry["id"],
        "fact_id": fact["id"],
        "document_id": document["id"],
        "deletion_id": deletion["id"],
        "conversation_id": conversation["id"],
        "item_id": items[0]["id"],
        "response_id": response["id"],
        "name": model,
    }
