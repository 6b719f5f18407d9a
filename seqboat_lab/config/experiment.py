"""`ExperimentConfig`: everything that determines one run."""

from dataclasses import dataclass, field
from typing import Literal

from seqboat_lab.config.checks import at_least, choose, fraction, positive, require
from seqboat_lab.config.data import DATA_CONFIGS, DataConfig, LanguageConfig, ListOpsConfig, RecallConfig
from seqboat_lab.config.model import ModelConfig

SANITY_TASKS = {"cnn": ("image", "pathfinder"), "bag": ("listops", "text", "retrieval")}
"""What the sanity models can read."""


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and learning-rate schedule."""

    optimizer: Literal["adamw", "radam"] = "adamw"
    """Both with decoupled weight decay."""
    lr: float = 4e-3
    """Peak learning rate."""
    ssm_lr: float | None = None
    """Peak learning rate of what sets an SSM's time scales, as its reference does (A and dt or the eigenvalues, B of
    S4, S5 and LRU; EMAs train them like all else); null = a tenth of `lr`, at most 1e-3."""
    beta1: float = 0.9
    """Decay of Adam's first moment."""
    beta2: float = 0.98
    """Decay of Adam's second moment."""
    eps: float = 1e-8
    """Adam's denominator offset."""
    weight_decay: float = 0.01
    """Decoupled: each step shrinks a weight by lr * weight_decay."""
    ssm_weight_decay: float = 0.0
    """Weight decay of the same parameters."""
    decay_everything: bool = False
    """Decay every parameter by `weight_decay`, as the authors' code does: norms, biases, temperatures and SSMs with
    their time scales too. False: matrices, embeddings, and C and the skip of S4, S4D, S5 and LRU."""
    clip_norm: float = 1.0
    """Largest gradient norm; 0 switches clipping off."""
    warmup_steps: int = 100
    """Updates of warm-up."""
    warmup_init_lr: float = 1e-7
    """Learning rate of the first update."""
    warmup_power: float = 1.0
    """The warm-up to `lr`: 1 is linear, 2 quadratic, which stays low for longer (the authors' Path-X)."""
    decay_power: float = 1.0
    """The decay to 0 at the last update: 1 is linear, 2 quadratic."""
    activation_cost: float = 0.0
    """Price of attention, added to the loss: this times the mean probability of activation of real tokens. More buys
    fewer active tokens; the paper has no such term (0). A sweep over it draws the front of quality and activation."""
    activation_cost_per: Literal["token", "flop"] = "token"
    """Every layer's mean counts alike, or by the share of all layers' attention FLOPs that is its own."""
    activation_cost_from: float = 0.2
    """Share of training after which the price begins to rise from 0, in a straight line."""
    activation_cost_to: float = 0.5
    """Share of training at which the whole price is asked."""

    def __post_init__(self):
        for name in ("lr", "eps", "warmup_power", "decay_power"):
            positive(self, name)
        if self.ssm_lr is not None:
            at_least(self, "ssm_lr", 0)
        for name in (
            "weight_decay",
            "ssm_weight_decay",
            "clip_norm",
            "warmup_steps",
            "warmup_init_lr",
            "activation_cost",
        ):
            at_least(self, name, 0)
        for name in ("beta1", "beta2"):
            fraction(self, name)
            require(getattr(self, name) < 1, name, getattr(self, name), "a number below 1")
        for name in ("activation_cost_from", "activation_cost_to"):
            fraction(self, name)
        low = self.activation_cost_from
        require(
            self.activation_cost_to >= low, "activation_cost_to", self.activation_cost_to,
            f"at least activation_cost_from = {low}",
        )  # fmt: skip
        require(
            not (self.decay_everything and self.ssm_weight_decay), "ssm_weight_decay", self.ssm_weight_decay,
            "0 with decay_everything, which decays time scales by weight_decay like all else",
        )  # fmt: skip


@dataclass(frozen=True)
class TrainerConfig:
    """How long, how often, on what."""

    max_steps: int = 1000
    """Optimiser updates."""
    val_every: int = 200
    """Updates between validations."""
    val_batches: int | None = None
    """Validation batches per validation; null = the whole split."""
    log_every: int = 20
    """Updates between logged training values."""
    accumulate: int = 1
    """Batches whose gradients are added up for one update."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to run; `auto` takes a GPU when there is one."""
    devices: int = 1
    """Processes of distributed data parallelism: GPUs, or CPU processes over gloo."""
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    """bf16-mixed: matmuls in bfloat16; SSM kernels, router and softmax stay in float32."""
    compile: bool = False
    """torch.compile the model: a slow first step, then faster ones."""
    threads: int | None = None
    """CPU threads per process; null = all cores shared among the devices."""
    progress: bool = True
    """Show progress on the terminal."""

    def __post_init__(self):
        for name in ("max_steps", "val_every", "log_every", "accumulate", "devices"):
            at_least(self, name, 1)
        for name in ("val_batches", "threads"):
            if getattr(self, name) is not None:
                at_least(self, name, 1)


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment: the same config, seed and device count give the same numbers."""

    task: str = "listops"
    """Which task; it decides which fields `data` has."""
    data: DataConfig = field(default_factory=ListOpsConfig, metadata={"tag": "../task", "among": DATA_CONFIGS})
    """Where the data is and how it is batched."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """The optimiser and its schedule."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """The training run."""
    seed: int = 1
    """Seed of initialisation, dropout and data order."""

    def __post_init__(self):
        choose("task", self.task, DATA_CONFIGS, "task")
        fit_for = SANITY_TASKS.get(self.model.kind, DATA_CONFIGS)
        expected = f"one for {self.task}; {self.model.kind!r} is for {', '.join(fit_for)}"
        require(self.task in fit_for, "model.kind", self.model.kind, expected)
        per_step = self.trainer.devices * self.trainer.accumulate
        require(
            self.data.batch_size % per_step == 0,
            "data.batch_size",
            self.data.batch_size,
            f"a multiple of trainer.devices * trainer.accumulate = {per_step}",
        )
        require(
            self.optim.warmup_steps < self.trainer.max_steps,
            "optim.warmup_steps",
            self.optim.warmup_steps,
            f"fewer than trainer.max_steps = {self.trainer.max_steps}",
        )
        if isinstance(self.data, (LanguageConfig, RecallConfig)):
            model, why = self.model, "since a language model may see no later token"
            require(not model.bidirectional, "model.bidirectional", model.bidirectional, f"false, {why}")
            require("batch" not in model.norm, "model.norm", model.norm, f"a norm of single tokens, {why}")
            require(
                not model.absolute_position, "model.absolute_position", model.absolute_position,
                "false, since a language model has no longest text",
            )  # fmt: skip
