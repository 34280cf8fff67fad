"""What the docs say is so: their commands run, their tables are complete."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import httpx
import jsonschema
import pytest
import yaml

from app import errors
from app.errors import ProblemError
from app.settings import SamplingDefaults, Settings
from llm.model.families import FAMILIES
from llm.weights.gguf_config import ARCHITECTURES
from memory.context import SegmentKind
from memory.strategies import STRATEGIES

pytestmark = pytest.mark.stand_in

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands_of(page: str) -> list[str]:
    return re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)


def output_of(commands: list[str], client: httpx.Client, folder: Path | None = None, setup: str = "") -> str:
    """What the commands print, run one after the other until one fails, against the client's service."""
    script = "\n".join(["set -euo pipefail", setup, *commands])
    script = script.replace("http://127.0.0.1:8000", str(client.base_url).rstrip("/"))
    command = ["bash", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.skipif(not shutil.which("curl"), reason="the README's commands are curl commands")
def test_the_commands_of_the_readme_work_as_they_are_written(client: httpx.Client) -> None:
    blocks = commands_of(README)
    assert len(blocks) >= 4
    printed = output_of(blocks, client)
    assert '"cached_tokens"' in printed
    assert "event: finished" in printed
    assert '"kind":"persona"' in printed
    assert "I am allergic to fish." in printed


@pytest.mark.skipif(not shutil.which("curl"), reason="the commands are curl commands")
def test_the_commands_and_the_script_of_the_page_on_openais_api_work_as_they_are_written(
    client: httpx.Client, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "openai.md").read_text(encoding="utf-8")
    page = page.replace("http://127.0.0.1:8000", str(client.base_url).rstrip("/"))
    [script] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    printed = output_of(commands_of(page), client)
    assert '"object":"chat.completion"' in printed
    assert "data: [DONE]" in printed
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.count("from the cache") == 2


@pytest.mark.skipif(not shutil.which("curl"), reason="the commands are curl commands")
def test_the_commands_of_the_page_on_operations_work_as_they_are_written(
    client: httpx.Client, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    blocks = commands_of(page)
    assert len(blocks) == 3
    setup = f"PATH={Path(sys.executable).parent}:$PATH\nmkdir backups"
    printed = output_of(blocks, client, tmp_path, setup)
    assert '"status":"ok"' in printed
    assert len(list((tmp_path / "backups").glob("*.backup"))) == 2
    assert (tmp_path / "restored" / "perdure.sqlite3").is_file()


def test_the_page_on_operations_names_every_metric_and_every_part(client: httpx.Client) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    exported = set(re.findall(r"^# TYPE (perdure_\w+) ", client.get("/metrics").text, flags=re.MULTILINE))
    assert set(re.findall(r"^\| `(perdure_\w+)` \|", page, flags=re.MULTILINE)) == exported
    for asked in re.findall(r"perdure_[a-z_]+[a-z]", page):
        assert asked.removesuffix("_bucket") in exported, asked
    parts = set(client.get("/readyz").json()["parts"])
    assert set(re.findall(r"^\| `([a-z]+)` \|", page, flags=re.MULTILINE)) == parts
    further, rules = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    [second] = yaml.safe_load(further.replace("!override", ""))["services"].values()
    assert (ROOT / second["extends"]["file"]).exists()
    [group] = yaml.safe_load(rules)["groups"]
    assert all(rule["alert"] and rule["expr"] for rule in group["rules"])


def test_every_code_of_an_openai_error_is_documented() -> None:
    page = (ROOT / "docs" / "openai.md").read_text(encoding="utf-8")
    named = re.findall(r'"(\w+_\w+)"', (ROOT / "app/openai/errors.py").read_text(encoding="utf-8"))
    codes = {name for name in named if not name.endswith("_error") and name != "user_message_id"}
    assert len(codes) > 3
    for code in codes:
        assert f"`{code}`" in page, code


def test_every_strategy_is_in_the_readme_and_has_its_paragraph() -> None:
    strategies = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    for name, strategy in STRATEGIES.items():
        assert f"\n## `{name}`\n" in strategies
        assert f"| `{name}`" in README
        for parameter, field in strategy.model_fields.items():
            if parameter != "strategy":
                assert f"`{parameter}` ({field.default})" in README


def test_every_family_of_models_is_documented() -> None:
    models = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \| `(\w+)` \|", models, flags=re.MULTILINE)
    assert {family for family, _ in rows} == set(FAMILIES)
    assert {architecture for _, architecture in rows} == set(ARCHITECTURES)


def test_every_problem_is_documented() -> None:
    documented = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    problems = [
        problem
        for problem in vars(errors).values()
        if isinstance(problem, type) and issubclass(problem, ProblemError)
    ]
    assert len(problems) > 10
    for problem in problems:
        assert f"| `{problem.slug}` | {int(problem.status)} |" in documented, problem.slug


def test_every_setting_is_documented_with_its_default() -> None:
    documented = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    settings = Settings.model_fields
    for name, field in settings.items():
        if name == "sampling":
            continue
        [row] = re.findall(rf"^\| `PERDURE_{name.upper()}` \| (.*?) \|", documented, flags=re.MULTILINE)
        if not isinstance(field.default, type(None) | dict) and name != "home":
            assert row == f"`{field.default}`", name
    for name, field in SamplingDefaults.model_fields.items():
        assert f"| `PERDURE_SAMPLING__{name.upper()}` | `{field.default}` |" in documented
    assert documented.count("| `PERDURE_") == len(settings) - 1 + len(SamplingDefaults.model_fields)


def test_every_link_within_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.fixture
def compose() -> dict[str, dict[str, dict[str, object]]]:
    parsed: dict[str, dict[str, dict[str, object]]] = yaml.safe_load(
        (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    )
    return parsed


COMPOSE_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["services"],
    "properties": {
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "build": {"type": "string"},
                    "image": {"type": "string", "pattern": r"^(\w+/)?[\w-]+:[\w.-]+$"},
                    "profiles": {"type": "array", "items": {"type": "string"}},
                    "entrypoint": {"type": "array", "items": {"type": "string"}},
                    "ipc": {"const": "host"},
                    "deploy": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "resources": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {"reservations": {"$ref": "#/$defs/reservations"}},
                            }
                        },
                    },
                    "depends_on": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {
                                "condition": {"const": "service_healthy"},
                                "required": {"type": "boolean"},
                            },
                        },
                    },
                    "command": {"type": "array", "items": {"type": "string"}},
                    "environment": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
                    "ports": {"type": "array", "items": {"type": "string", "pattern": r"^[\d.]+:\d+:\d+$"}},
                    "volumes": {"type": "array", "items": {"type": "string", "pattern": r"^\w+:(/[\w.]+)+$"}},
                    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                    "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
                    "healthcheck": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["test"],
                        "properties": {
                            "test": {"type": "array", "items": {"type": "string"}},
                            "interval": {"type": "string", "pattern": r"^\d+s$"},
                            "timeout": {"type": "string", "pattern": r"^\d+s$"},
                            "start_period": {"type": "string", "pattern": r"^\d+s$"},
                            "retries": {"type": "integer"},
                        },
                    },
                },
            },
        },
        "volumes": {"type": "object"},
    },
    "$defs": {
        "reservations": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "devices": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["capabilities"],
                        "properties": {
                            "driver": {"type": "string"},
                            "count": {"type": "integer"},
                            "capabilities": {"type": "array", "items": {"type": "string"}},
                        },
                    },
                }
            },
        }
    },
}


def test_the_compose_file_is_well_formed_and_names_what_exists(
    compose: dict[str, dict[str, dict[str, object]]],
) -> None:
    """By the parts of the Compose specification that it uses (https://github.com/compose-spec)."""
    jsonschema.validate(compose, COMPOSE_SCHEMA)
    service = compose["services"]["perdure"]
    assert service["command"] == ["perdure", "serve"]
    environment = service["environment"]
    assert isinstance(environment, dict)
    for name in environment:
        assert name.removeprefix("PERDURE_").lower() in Settings.model_fields
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])  # type: ignore[attr-defined]
    assert str(service["build"]) == "."
    mounted = {
        volume.partition(":")[0]
        for each in compose["services"].values()
        for volume in each["volumes"]  # type: ignore[attr-defined]
    }
    assert mounted == set(compose["volumes"])
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for source in re.findall(r"^COPY (.+) \S+$", dockerfile, flags=re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), name


def test_the_service_of_the_compose_file_waits_for_its_database_and_knows_how_to_reach_it(
    compose: dict[str, dict[str, dict[str, Any]]],
) -> None:
    service, server = compose["services"]["perdure"], compose["services"]["postgres"]
    healthy = {"condition": "service_healthy"}
    assert service["depends_on"] == {
        "postgres": healthy,
        "chroma": healthy,
        "vllm": healthy | {"required": False},  # only with its profile
    }
    assert all(set(service["depends_on"]) >= {name} for name in compose["services"] if name != "perdure")
    assert all("healthcheck" in each for each in compose["services"].values())
    assert server["healthcheck"]["test"][1] == "pg_isready"
    assert "ports" not in server, "reached from within only"
    given = server["environment"]
    user, password, name = (given[f"POSTGRES_{each}"] for each in ("USER", "PASSWORD", "DB"))
    url = service["environment"]["PERDURE_DATABASE_URL"]
    assert url == f"postgresql://{user}:{password}@postgres/{name}"
    assert Settings(database_url=url).database == url
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "pip install --no-cache-dir '.[postgres]'" in dockerfile


def test_the_health_check_of_the_compose_file_passes_on_a_running_service(
    client: httpx.Client, compose: dict[str, dict[str, dict[str, object]]]
) -> None:
    check = compose["services"]["perdure"]["healthcheck"]
    assert isinstance(check, dict)
    kind, *command = check["test"]
    assert kind == "CMD"
    here = [part.replace("http://127.0.0.1:8000", str(client.base_url).rstrip("/")) for part in command]
    assert subprocess.run(here, check=False, timeout=20).returncode == 0
    nowhere = [part.replace("http://127.0.0.1:8000", "http://127.0.0.1:1") for part in command]
    assert subprocess.run(nowhere, check=False, timeout=20, stderr=subprocess.DEVNULL).returncode != 0


def test_the_chroma_server_of_the_compose_file_is_of_the_version_of_its_client(
    compose: dict[str, dict[str, dict[str, Any]]],
) -> None:
    chroma = compose["services"]["chroma"]
    assert chroma["image"] == f"chromadb/chroma:{version('chromadb')}"
    assert compose["services"]["perdure"]["environment"]["PERDURE_CHROMA_URL"] == "http://chroma:8000"


def test_the_health_check_of_chroma_passes_on_a_server_that_answers_alone(
    chroma_url: str, compose: dict[str, dict[str, dict[str, Any]]]
) -> None:
    kind, *command = compose["services"]["chroma"]["healthcheck"]["test"]
    assert kind == "CMD"
    for port, is_well in ((chroma_url.rpartition(":")[2], True), ("1", False)):
        here = [part.replace("/8000", f"/{port}") for part in command]
        done = subprocess.run(here, check=False, timeout=20, stderr=subprocess.DEVNULL)
        assert (done.returncode == 0) is is_well


def test_the_order_of_the_window_names_every_kind_of_segment() -> None:
    strategies = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    [order] = re.findall(r"^    (persona.*)$", strategies, flags=re.MULTILINE)
    assert set(re.findall(r"\w+", order)) == set(get_args(SegmentKind))
