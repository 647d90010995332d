"""One process or many: the little that training must know of `torchrun`.

torchrun --nproc-per-node 2 -m lineament train --config FILE     # `optimiser.batch` is the batch of all processes together
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lineament.errors import ConfigError


@dataclass(frozen=True)
class Team:
    """The processes of a run. Rank 0 writes; every rank steps through the same batches and takes its share of each."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Return this rank's part of a batch. Raises: ConfigError if the batch cannot be shared evenly."""
        if len(rows) % self.size:
            raise ConfigError(f"optimiser.batch {len(rows)} is not a multiple of the {self.size} processes. Choose one that is.")
        return rows[self.rank :: self.size]

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network as it is, or wrapped so that gradients are averaged over the ranks."""
        return network if self.size == 1 else DistributedDataParallel(network, find_unused_parameters=True)


def join(device: str) -> Team:
    """Join the processes that torchrun started (gloo on CPU, NCCL on CUDA), or return a team of one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return Team(dist.get_rank(), size)
