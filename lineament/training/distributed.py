"""Distributed training: the little that the loop must know of `torchrun`.

torchrun --nproc-per-node 2 -m lineament train --config FILE     # `optimiser.batch` is the batch of all processes
together

Convention: gradients are the mean of the processes' own. With every label known that is the gradient of the whole
batch; where labels are missing, each process divides by its own known ones, as DistributedDataParallel does for any
masked loss.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lineament.errors import ConfigError


@dataclass(frozen=True)
class Team:
    """The processes of a run. Rank 0 writes; every rank steps through the same batches and takes its share of each.
    `place`: number on its host."""

    rank: int = 0
    size: int = 1
    place: int = 0

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, rows: np.ndarray[Any, np.dtype[np.intp]]) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Return this rank's part of a batch. Raises: ConfigError if the batch cannot be shared evenly."""
        if len(rows) % self.size:
            raise ConfigError(
                f"optimiser.batch {len(rows)} is not a multiple of the {self.size} processes. Choose one that is."
            )
        return rows[self.rank :: self.size]

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network as it is, or wrapped so that gradients are averaged over the ranks."""
        if self.size == 1:
            return network
        if next(network.parameters()).is_cuda:  # batch norms see the whole batch; torch has no such norm for processors
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(network, find_unused_parameters=True)

    def average_gradients(self, module: nn.Module) -> None:
        """Let gradients of a module that is not wrapped (a weighting that learns) be averaged over the ranks too."""
        for parameter in module.parameters() if self.size > 1 else ():
            parameter.register_post_accumulate_grad_hook(self._average)  # type: ignore[no-untyped-call]

    def _average(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        dist.all_reduce(parameter.grad)
        parameter.grad /= self.size

    def summed(self, tensor: Tensor) -> Tensor:
        """Return the sum of the ranks' tensors."""
        if self.size > 1:
            dist.all_reduce(tensor := tensor.clone())
        return tensor

    def told(self, tensor: Tensor) -> Tensor:
        """Return the leader's tensor."""
        if self.size > 1:
            dist.broadcast(tensor := tensor.clone(), 0)
        return tensor

    def any(self, said: bool) -> bool:
        """Return whether any rank says so."""
        return said if self.size == 1 else bool(self.summed(torch.tensor(float(said))) > 0)

    def device(self, name: str) -> torch.device:
        """Return this rank's device: `cuda` is the card of its number on the host. Raises: ConfigError if there is no
        such device."""
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise ConfigError(f"optimiser.device {name!r} is no device torch knows. Use cpu or cuda.") from error
        if device.type != "cuda":
            return device
        if not torch.cuda.is_available():
            raise ConfigError(
                f"optimiser.device is {name}, but torch sees no CUDA card here. Use --device cpu, or install torch for "
                "CUDA."
            )
        return torch.device("cuda", self.place) if self.size > 1 else device


def join(device: str) -> Team:
    """Join the processes that torchrun started (gloo for tensors in memory, NCCL for those on cards), or return a team
    of one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team()
    place, on_cards = int(os.environ.get("LOCAL_RANK", "0")), device.startswith("cuda") and torch.cuda.is_available()
    if on_cards:
        torch.cuda.set_device(place)  # else every process would work on the first card
    if not dist.is_initialized():
        # The first process may decode a large set for hours while the others wait for it.
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_cards else "gloo", timeout=timedelta(hours=24))
    return Team(dist.get_rank(), size, place)
