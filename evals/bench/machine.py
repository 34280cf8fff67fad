"""What a benchmark ran on: processor, threads, and the versions of everybody who took part."""

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

CPUINFO = Path("/proc/cpuinfo")
PEERS = ("transformers", "llama-cpp-python", "langchain-classic", "langchain-core", "llama-index-core")


@dataclass(frozen=True, slots=True)
class Machine:
    """`features`: the instruction sets that matter most here. `load`: of the last minute, before the run."""

    cpu: str
    cores: int
    threads: int
    features: tuple[str, ...]
    load: float
    versions: dict[str, str]

    @property
    def has_amx(self) -> bool:
        return "amx_tile" in self.features

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.cpu} ({', '.join(self.features) or 'features unknown'}), {self.cores} cores, "
            f"{self.threads} threads, load {self.load:.1f} before; {versions}"
        )


def this_machine(threads: int) -> Machine:
    fields = _cpuinfo()
    flags = fields.get("flags", "").split()
    features = tuple(flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if flag in flags)
    return Machine(
        cpu=fields.get("model name", platform.processor() or platform.machine()),
        cores=os.cpu_count() or 1,
        threads=threads,
        features=features,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        versions=_versions(),
    )


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries; empty where there is no such file."""
    if not CPUINFO.is_file():
        return {}
    first = CPUINFO.read_text(encoding="utf-8").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _versions() -> dict[str, str]:
    found = {"torch": str(torch.__version__)}
    for package in PEERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
