"""How long a run takes: the same inputs again and again, each run measured on its own, the slowest rank counting."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as distributed


def measure(run: Callable[[], object], runs: int, device: torch.device, ranks: int, warm_up: int = 3) -> dict[str, Any]:
    for _ in range(warm_up):
        run()
    times: list[float] = []
    for _ in range(runs):
        _together(device, ranks)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1e3)
    all_times: list[Any] = [times]
    if ranks > 1:
        all_times = [None] * ranks
        distributed.all_gather_object(all_times, times)
    slowest = [max(column) for column in zip(*all_times)]
    out: dict[str, Any] = {
        "runs": runs,
        "median_ms": statistics.median(slowest),
        "min_ms": min(slowest),
        "each_rank": [{"median_ms": statistics.median(times), "min_ms": min(times)} for times in all_times],
    }
    if device.type == "cuda":
        out["device"] = torch.cuda.get_device_name(device)
        out["peak_bytes"] = torch.cuda.max_memory_allocated(device)
    return out


def _together(device: torch.device, ranks: int) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
    if ranks > 1:
        distributed.barrier()
    if device.type == "cuda":
        torch.cuda.synchronize()
