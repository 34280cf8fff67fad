"""An unmodified chat client that takes a base URL; the test runs where its command is found."""

import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

from tests.app.standard import CHAT_MODEL

LLM = shutil.which("llm")


@pytest.mark.skipif(LLM is None, reason="`pipx install llm` puts the command on the path")
def test_the_command_llm_chats_statelessly_and_in_a_session(
    client: httpx.Client, session_id: str, tmp_path: Path
) -> None:
    model = {"model_name": CHAT_MODEL, "api_base": f"{client.base_url}/v1"}
    models = [
        {"model_id": "perdure", **model},
        {"model_id": "in-session", **model, "headers": {"X-Perdure-Session": session_id}},
    ]
    (tmp_path / "extra-openai-models.yaml").write_text(yaml.safe_dump(models), encoding="utf-8")
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
    environment.pop("PYTHONPATH", None)  # its package has the name of one of ours

    def said(*options: str) -> str:
        assert LLM is not None
        done = subprocess.run(
            [LLM, *options, "-o", "max_tokens", "12"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert said("-m", "perdure", "-o", "temperature", "0", "What is the capital of France?")
    assert said("-c", "And of Italy?")
    reply = said("-m", "in-session", "My dog is called Biscuit.")
    stored = client.get(f"/v1/sessions/{session_id}/messages").json()["data"]
    assert [message["content"].strip() for message in stored] == ["My dog is called Biscuit.", reply]
