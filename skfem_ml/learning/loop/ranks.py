"""Processes that train one network together: ``torchrun --nproc-per-node 2 script.py``, the script as it is.

With W ranks, each with the loss L_r of its own batch, a step of `training.fit` is one of the mean loss

    L = (1 / W) sum_r L_r,   grad L = (1 / W) sum_r grad L_r,

where L_r is a mean over batches of one size: then W ranks with batches of b are one process with batches of W b. One
vector of all gradients is summed over the ranks, so that each of them makes the same step with the same optimiser:
weights stay equal bit for bit. A run with the same number of ranks (and threads) has the same weights to the last bit.

- **Who.** The processes of ``torch.distributed`` where the script initialised it; else those that torchrun's
  environment names (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), joined here: gloo on a CPU, nccl where the network is
  on CUDA (not tried there: no such machine was at hand).
- **Data.** Rank r sees in step k what one process sees in step k W + r: ``data(k W + r)``, or those rows of tensors.
  Where a step takes all rows, all ranks see the same, and nothing is gained.
- **Rank 0 alone** holds the lock, writes the checkpoint and tells ``progress``. All start from its weights, or from its
  checkpoint. All measure what is recorded, so that what a network keeps of its inputs stays the same, and its number
  counts.
- **Ends.** Where a rank dies, the others stop with `RankError`: at once where its connection breaks, as it does with
  its process, else after `PATIENCE`, which no batch may last. Started again, they go on from the checkpoint.

Li et al., PyTorch Distributed, VLDB 13 (2020), is the same with buckets of gradients, for networks that are larger.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from skfem_ml.learning.states import tensors_of

LOG = logging.getLogger("skfem_ml")
PATIENCE = timedelta(minutes=10)  # for a rank that is silent
ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class RankError(RuntimeError):
    """Another process of the training ended, or was silent for too long."""


def world() -> int:
    """How many processes train together: those of ``torch.distributed``, or of torchrun's environment, or one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in ENVIRONMENT) else 1


class Ranks:
    """One of ``world`` processes that train a network together, number ``rank``.

    >>> alone = Ranks()
    >>> alone, alone.first, alone.numbers(0.5)
    (Ranks(0 of 1), True, [0.5])
    """

    def __init__(self, group: dist.ProcessGroup | None = None):
        self.group, self.rank, self.world = group, 0, 1
        self.device = torch.device("cpu")
        if group is not None:
            self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)
            if dist.get_backend(group) == "nccl":
                self.device = torch.device("cuda", torch.cuda.current_device())

    def __repr__(self) -> str:
        return f"Ranks({self.rank} of {self.world})"

    @property
    def first(self) -> bool:
        """Whether this is the process that keeps the records."""
        return self.rank == 0

    def align(self, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Give all ranks the weights of rank 0, in place."""
        if self.world > 1:
            state = [value for value in tensors_of(net).values() if isinstance(value, Tensor)]
            for tensor in [*state, *_parameters(optimiser)]:
                there = tensor.detach().to(self.device).contiguous()
                self._broadcast(_real(there))
                tensor.detach().copy_(there)

    def mean(self, value: Tensor, net: nn.Module, optimiser: torch.optim.Optimizer) -> Tensor:
        """The mean of a loss over ranks; gradients, and the running statistics of norms, become their means in place.

        A parameter has no gradient where it has none on any rank.
        """
        if self.world == 1:
            return value
        parameters = _parameters(optimiser)
        has = torch.tensor([float(p.grad is not None) for p in parameters])
        targets = [*_statistics(net), *(torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)]
        parts = [_real(part.detach()).reshape(-1) for part in (*targets, has, value)]
        flat = torch.cat([part.to(self.device) for part in parts])
        with self._answered():
            dist.all_reduce(flat, group=self.group)
        flat /= self.world
        *means, has, value = flat.split([len(part) for part in parts])
        for target, mean in zip(targets, means, strict=True):
            _real(target.detach()).copy_(mean.view_as(_real(target.detach())))
        for parameter, gradient, some in zip(parameters, targets[-len(parameters) :], has.tolist(), strict=True):
            parameter.grad = gradient if some > 0 else None
        return value[0]

    def numbers(self, *own: float) -> list[float]:
        """Those of rank 0, on all ranks."""
        if self.world == 1:
            return list(own)
        values = torch.tensor(own, dtype=torch.float64, device=self.device)
        self._broadcast(values)
        return values.tolist()

    def bytes(self, make: Callable[[], bytes]) -> bytes:
        """What ``make()`` gives on rank 0, on all ranks."""
        if self.world == 1:
            return make()
        data = make() if self.first else b""
        (size,) = self.numbers(len(data))
        there = torch.empty(int(size), dtype=torch.uint8)
        if self.first:
            there.numpy()[:] = np.frombuffer(data, dtype=np.uint8)
        there = there.to(self.device)
        self._broadcast(there)
        return there.cpu().numpy().tobytes()

    def _broadcast(self, tensor: Tensor) -> None:
        if tensor.numel():
            with self._answered():
                dist.broadcast(tensor, group_src=0, group=self.group)

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RankError(
                f"rank {self.rank} of {self.world}: expected an answer of the others, got none ({str(error)[:200]}); "
                "one of them ended, and said why where it ran; start all again, they go on from the checkpoint"
            ) from error


@contextmanager
def joined(net: nn.Module) -> Iterator[Ranks]:
    """The processes that train a network, for the time of a training; one that leaves by an error ends the others.

    They have a group of their own: what the script does with ``torch.distributed`` stays as it is.
    """
    if world() == 1:
        yield Ranks()
        return
    if not dist.is_initialized():
        cuda = any(parameter.is_cuda for parameter in net.parameters())
        dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
        atexit.register(_leave)
    ranks = Ranks(dist.new_group(timeout=PATIENCE))
    LOG.info("rank %d of %d: gradients are averaged (%s)", ranks.rank, ranks.world, dist.get_backend(ranks.group))
    try:
        yield ranks
    finally:
        dist.destroy_process_group(ranks.group)
        ranks.group = None  # nobody holds it: its connections are closed, which the others see at once


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _statistics(net: nn.Module) -> list[Tensor]:
    """What norms over batches keep of the batches that they saw."""
    norms = (module for module in net.modules() if isinstance(module, _NormBase))
    return [buffer for norm in norms for buffer in norm.buffers(recurse=False) if buffer.is_floating_point()]


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
