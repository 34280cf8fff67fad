"""`/readyz` says part by part whether a reply could be given, and why not."""

import os
import shutil
from pathlib import Path

import pytest

from app import readiness
from app.settings import Settings
from tests.app.service import StartService

PARTS = {"database", "model", "disk", "home", "recall"}


def test_a_service_that_is_well_says_so_of_every_part(start_service: StartService) -> None:
    answer = start_service().get("/readyz")
    assert answer.status_code == 200
    said = answer.json()
    assert said["status"] == "ok"
    assert said["parts"] == {name: {"status": "ok", "detail": None} for name in PARTS}


def test_chroma_that_is_gone_degrades_recall_and_replies_are_given_all_the_same(
    start_service: StartService,
) -> None:
    client = start_service(chroma_url="http://127.0.0.1:1")
    answer = client.get("/readyz")
    assert answer.status_code == 200
    said = answer.json()
    assert said["status"] == said["parts"]["recall"]["status"] == "degraded"
    assert said["parts"]["recall"]["detail"]
    assert {part["status"] for name, part in said["parts"].items() if name != "recall"} == {"ok"}
    session_id = client.post("/v1/sessions", json={}).json()["id"]
    path = f"/v1/sessions/{session_id}/messages"
    assert client.post(path, json={"content": "Hello!", "max_tokens": 4}).is_success


def test_a_disk_that_is_full_is_named_and_one_that_is_filling_up_is_degraded(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start_service()
    free = shutil.disk_usage(Settings().home).free
    monkeypatch.setattr(readiness, "WANTED_FREE_BYTES", 2 * free + 2**30)
    said = client.get("/readyz").json()
    assert (said["status"], said["parts"]["disk"]["status"]) == ("degraded", "degraded")
    monkeypatch.setattr(readiness, "LEAST_FREE_BYTES", 2 * free + 2**30)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:perdure:problem:not-ready")
    assert "MiB free" in answer.json()["detail"]
    parts = answer.json()["parts"]
    assert set(parts) == PARTS
    assert {name for name, part in parts.items() if part["status"] == "failed"} == {"disk"}


def test_a_home_that_is_gone_is_named(start_service: StartService, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    client = start_service(home=home)
    os.rename(home, tmp_path / "moved")
    answer = client.get("/readyz")
    os.rename(tmp_path / "moved", home)
    assert answer.status_code == 503
    assert {name for name, part in answer.json()["parts"].items() if part["status"] == "failed"} >= {"home"}
    assert str(home) in answer.json()["detail"]
    assert client.get("/readyz").status_code == 200
