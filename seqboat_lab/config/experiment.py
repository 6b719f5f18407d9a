"""`ExperimentConfig`: everything that determines one run."""

from dataclasses import dataclass, field
from typing import Literal

from seqboat_lab.config.checks import at_least, fraction, positive, require, seed
from seqboat_lab.config.data import (
    DATA_CONFIGS,
    DataConfig,
    LanguageConfig,
    ListOpsConfig,
    MultimodalConfig,
    RecallConfig,
)
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.config.model import ModelConfig

SANITY_TASKS = {"cnn": ("image", "pathfinder"), "bag": ("listops", "text", "retrieval")}
"""What the sanity models can read."""

Logger = Literal["tensorboard", "csv", "wandb", "mlflow"]

LARGEST_RATE = 10.0
"""Adam moves every weight by about the learning rate in each step."""


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
        positive(self, "lr", 1e-12, LARGEST_RATE)
        at_least(self, "ssm_lr", 0, LARGEST_RATE)
        at_least(self, "warmup_init_lr", 0, LARGEST_RATE)
        positive(self, "eps", 1e-30, 1)
        for name in ("warmup_power", "decay_power"):
            positive(self, name, 0.01, 100)
        for name in ("weight_decay", "ssm_weight_decay"):
            at_least(self, name, 0, 1000)
        at_least(self, "warmup_steps", 0)
        at_least(self, "clip_norm", 0, 1e6)
        require(
            self.clip_norm == 0 or self.clip_norm >= 1e-6, "clip_norm", self.clip_norm, "0 (no clipping) or from 1e-6"
        )
        for name in ("beta1", "beta2"):
            fraction(self, name, below_one=True)
        require(
            self.warmup_steps == 0 or self.warmup_init_lr <= self.lr, "warmup_init_lr", self.warmup_init_lr,
            f"at most lr = {self.lr:g}, to which it warms up",
        )  # fmt: skip
        for decay, rate in (("weight_decay", "lr"), ("ssm_weight_decay", "ssm_lr")):
            shrinks = getattr(self, decay) * (getattr(self, rate) or 0)
            require(shrinks < 1, decay, getattr(self, decay), f"less than 1 / {rate}: a step would turn weights round")
        at_least(self, "activation_cost", 0, 1e6)
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
    checkpoint_minutes: float | None = None
    """Also save after so many minutes without a checkpoint, against kills without a warning; null = only after
    validations, and when a signal ends the run."""
    accumulate: int = 1
    """Batches whose gradients are added up for one update."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to run; `auto` takes a GPU when there is one."""
    devices: int = 1
    """Processes of distributed data parallelism, over all nodes: GPUs, or CPU processes over gloo."""
    num_nodes: int | None = None
    """Nodes over which a launcher spreads the processes evenly; null = as it does. A number is checked; jsrun and
    mpirun, which do not tell it, need it. It changes no result."""
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    """bf16-mixed: matmuls in bfloat16; SSM kernels, router and softmax stay in float32."""
    compile: bool = False
    """torch.compile the model: a slow first step, then faster ones."""
    threads: int | None = None
    """CPU threads per process; null = all cores shared among the devices."""
    progress: bool = True
    """Show progress on the terminal."""
    loggers: list[Logger] = field(default_factory=lambda: ["tensorboard", "csv"])
    """Where curves go: `tensorboard` (with pictures), `csv` (metrics.csv), and the extras `wandb` (offline unless
    WANDB_MODE=online) and `mlflow` (into the run's directory unless MLFLOW_TRACKING_URI is set). Each costs some time
    per logged value; what sweeps and reports read is kept in any case."""

    def __post_init__(self):
        for name in ("max_steps", "val_every", "val_batches", "log_every"):
            at_least(self, name, 1)
        at_least(self, "accumulate", 1, 2**20)
        at_least(self, "devices", 1, 4096)
        at_least(self, "num_nodes", 1, 4096)
        nodes = self.num_nodes or 1
        expected = f"one that divides trainer.devices = {self.devices}, the processes of all nodes"
        require(self.devices % nodes == 0, "num_nodes", nodes, expected)
        at_least(self, "threads", 1, 1024)
        at_least(self, "checkpoint_minutes", 1e-6, 1e6)
        require(len(set(self.loggers)) == len(self.loggers), "loggers", self.loggers, "each logger once")
        # a run shorter than the default logs its last step
        longest = max(self.max_steps, TrainerConfig.log_every)
        expected = f"at most max_steps = {self.max_steps}, or no training value is ever looked at"
        require(self.log_every <= longest, "log_every", self.log_every, expected)


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
        DATA_CONFIGS.settings("task", self.task)
        seed(self)
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
        if isinstance(self.data, (LanguageConfig, RecallConfig, MultimodalConfig)):
            model, why = self.model, "since a language model may see no later token"
            require(model.is_stack, "model.kind", model.kind, f"a kind of layer ({', '.join(MIXER_CONFIGS)}), {why}")
            require(not model.bidirectional, "model.bidirectional", model.bidirectional, f"false, {why}")
            require("batch" not in model.norm, "model.norm", model.norm, f"a norm of single tokens, {why}")
            require(
                not model.absolute_position, "model.absolute_position", model.absolute_position,
                "false, since a language model has no longest text",
            )  # fmt: skip
        if isinstance(self.data, (LanguageConfig, MultimodalConfig)) and self.data.carry_state:
            for kind in self.model.kinds:
                state = self.model.settings(kind).state
                lacks = "has no state" if state == "none" else "has a cache that grows without end"
                require(state == "fixed", "data.carry_state", True, f"false, since {kind} {lacks}")
