"""The authors' optimiser: Adam with decoupled weight decay, warm-up and decay to zero by powers of the update."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from seqboat_lab.config import OptimConfig
from seqboat_lab.nn.ssm import SSM


def learning_rate(config: OptimConfig, max_steps: int, step: int) -> float:
    """Rate of update `step` (the first is 0): from `warmup_init_lr` up to `lr` in `warmup_steps` updates, as
    (step / warmup)^warmup_power, then down to 0 at the last one, as the share of updates that are left ^decay_power."""
    if step < config.warmup_steps:
        risen = (step / config.warmup_steps) ** config.warmup_power
        return config.warmup_init_lr + (config.lr - config.warmup_init_lr) * risen
    left = max(0, max_steps - step) / (max_steps - config.warmup_steps)
    return config.lr * left**config.decay_power


def ssm_learning_rate(config: OptimConfig) -> float:
    """Peak rate of the parameters that set an SSM's time scales."""
    return min(config.lr / 10, 1e-3) if config.ssm_lr is None else config.ssm_lr


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict]:
    """Weights that decay, those that do not, and the time scales of SSMs (`SSM.slow_parameters`) at a rate of
    their own. Norms, biases, scalars, and of an SSM all but its `decayed_parameters`, stay whole; with
    `decay_everything` every parameter of the model decays alike."""
    ssms = [module for module in model.modules() if isinstance(module, SSM)]
    in_ssm = {id(p) for ssm in ssms for p in ssm.parameters()}
    is_slow = {id(getattr(ssm, name)) for ssm in ssms for name in ssm.slow_parameters}
    decays_in_ssm = {id(getattr(ssm, name)) for ssm in ssms for name in ssm.decayed_parameters}
    decayed: list[nn.Parameter] = []
    whole: list[nn.Parameter] = []
    slow: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_bias = parameter.dim() < 2 or name.rsplit(".", 1)[-1] in ("gamma", "beta")
        decays = id(parameter) in decays_in_ssm if id(parameter) in in_ssm else not is_bias
        group = slow if id(parameter) in is_slow else decayed if decays or config.decay_everything else whole
        group.append(parameter)
    ssm_lr = ssm_learning_rate(config)
    ssm_decay = config.weight_decay if config.decay_everything else config.ssm_weight_decay
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay, "name": "decayed"},
        {"params": whole, "weight_decay": 0.0, "name": "whole"},
        {"params": slow, "weight_decay": ssm_decay, "lr": ssm_lr, "name": "ssm"},
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(model: nn.Module, config: OptimConfig, max_steps: int) -> tuple[Optimizer, LambdaLR]:
    """Optimiser and per-update schedule; every group follows the same curve up to its own peak."""
    shared: dict[str, Any] = {"lr": config.lr, "betas": (config.beta1, config.beta2), "eps": config.eps}
    groups = parameter_groups(model, config)
    if config.optimizer == "radam":
        optimizer: Optimizer = torch.optim.RAdam(groups, decoupled_weight_decay=True, **shared)
    else:
        optimizer = torch.optim.AdamW(groups, fused=True, **shared)
    schedule = LambdaLR(optimizer, lambda step: learning_rate(config, max_steps, step) / config.lr)
    return optimizer, schedule
