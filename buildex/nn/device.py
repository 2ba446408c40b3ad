"""Where a network runs, how precisely, and what the machine has: decided once per tool, here."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

from buildex.errors import ConfigError
from buildex.nn.settings import Precision

CONTAINER = Path("/sys/fs/cgroup/memory.max")  # where Linux says what a container may take


def choose_device(name: str = "auto", count: int = 1) -> torch.device:
    """The device of that name; `auto` takes CUDA, then Apple's MPS, then the CPU.

    Args:
        name: as torch has it, or `auto`.
        count: how many of its kind are to work together.

    Raises:
        ConfigError: if the device is unknown or not there, or so many are not.
    """
    device = _known_device(name)
    if device.type == "mps" and count > 1:
        raise ConfigError(f"there are not {count} MPS devices here", hint="use one")
    if device.type != "cuda":
        return device
    there = torch.cuda.device_count()
    if device.index is not None and count > 1:
        raise ConfigError(f"`{name}` is one GPU, not {count}", hint="use `--device cuda`")
    if count > there or (device.index or 0) >= there:
        asked = f"there are not {count} GPUs" if count > 1 else f"there is no `{name}`"
        raise ConfigError(f"{asked} here, but {there}", hint="numbers begin at 0")
    return device


def _known_device(name: str) -> torch.device:
    """The device of a name, of a kind that is there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device `{name}`", hint="use auto, cpu, cuda or mps") from None
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(device.type, False):
        raise ConfigError(f"there is no `{name}` device here", hint="use `--device cpu`")
    return device


def use_bf16(device: torch.device, precision: Precision = "auto") -> bool:
    """Whether to compute in bfloat16: as asked, or where the device multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.backends.cpu.get_cpu_capability()
        return "AVX512" in capabilities and (_cpu_has("avx512_bf16") or _cpu_has("amx_bf16"))
    return False


def autocast(device: torch.device, bf16: bool) -> contextlib.AbstractContextManager[None]:
    """Mixed precision on the device where `bf16`, else full precision."""
    if not bf16:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def memory() -> int:
    """Bytes that the machine has, or the container; 8 GiB where the machine does not say."""
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        there = 0
    try:
        allowed = int(CONTAINER.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no container, or `max`
        allowed = there
    return min(there, allowed) if there > 0 else 2**33


def hardware(device: torch.device) -> str:
    """The device in words, for a model's provenance."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def _cpu_has(flag: str) -> bool:
    """Whether Linux lists that instruction set for the CPU; False where nobody says."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return any(line.startswith("flags") and f" {flag}" in line for line in info)
    except OSError:
        return False
