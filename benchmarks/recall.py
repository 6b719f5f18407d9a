"""Does the router learn? Accuracy against activation rate on noisy associative recall, learned decisions beside others.

    .venv/bin/python -m benchmarks.recall [--seeds 5] [--out FILE] [--arms NAME ... --] [key=value ...]

Trains configs/recall/noisy_mqar_tiny on one thread, in a plain loop over `nn.LanguageModel` with the framework's
optimiser and never the same sequence twice. Every finished run is a line of docs/results_recall.jsonl (or `--out`), so
that a killed benchmark goes on where it was; `python -m benchmarks.recall_report` makes docs/results_recall.md of them.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from seqboat_lab.config import ExperimentConfig, load_experiment
from seqboat_lab.data.generators.recall import BLANK, CLASSES, draw_chunk, token_classes, vocabulary
from seqboat_lab.nn import LanguageModel
from seqboat_lab.nn.capacity import plan_training
from seqboat_lab.training.activation_cost import layer_weights, price, probability_of_activation
from seqboat_lab.training.optim import make_optimizer

EXPERIMENT = "recall/noisy_mqar_tiny"
RESULTS = Path("docs/results_recall.jsonl")
RATES = (0.1, 0.2, 0.3, 0.5, 1.0)
SHARED_RATES = (0.1, 0.15, 0.2, 0.3)
"""Rates of a budget that the layers share."""
OF_EACH_LAYER = "model.configurator.budget=layer"
PRICES = (0.01, 0.03, 0.05, 0.1)
MEMORIES = (8, 12, 16, 24, 32)
"""Working memories that the trained model is also run with."""
CREDIT, NO_CREDIT = "model.confidence_on=output_and_value", "model.confidence_on=output"


def arms() -> dict[str, list[str]]:
    """Name of each cell of the table -> its overrides; SEED stands for the run's seed."""
    cells = {"never": ["model.configurator.kind=never"], "always": ["model.configurator.kind=always"]}
    for rate in SHARED_RATES:
        shared = [f"model.configurator.rate={rate}", "model.configurator.budget=model"]
        cells[f"shared {rate:g}"] = [*shared, NO_CREDIT]
        cells[f"shared+credit {rate:g}"] = [*shared, CREDIT]
    for rate in RATES:
        capacity = f"model.configurator.rate={rate}"
        cells[f"capacity {rate:g}"] = [capacity, OF_EACH_LAYER, NO_CREDIT]
        cells[f"capacity+credit {rate:g}"] = [capacity, OF_EACH_LAYER, CREDIT]
        if rate < 0.5:
            cells[f"capacity+credit {rate:g}, layer 0 alone"] = [
                capacity, OF_EACH_LAYER, CREDIT, "model.by_layer.1.configurator.kind=never"
            ]  # fmt: skip
        if rate == 0.3:
            cells["capacity+credit 0.3, no price"] = [
                capacity, OF_EACH_LAYER, CREDIT, "optim.activation_cost=0",
            ]  # fmt: skip
            cells["capacity 0.3, no price"] = [
                capacity, OF_EACH_LAYER, NO_CREDIT, "optim.activation_cost=0",
            ]  # fmt: skip
        if rate < 1:
            cells[f"random {rate:g}"] = [f"model.configurator={{kind: random, rate: {rate}, seed: SEED}}"]
            cells[f"every_kth {rate:g}"] = [f"model.configurator={{kind: every_kth, k: {round(1 / rate)}}}"]
    for cost in PRICES:
        paying = ["model.configurator={kind: tempered_softmax}", f"optim.activation_cost={cost}"]
        cells[f"cost {cost:g}"] = [*paying, NO_CREDIT]
        cells[f"cost+credit {cost:g}"] = [*paying, CREDIT]
    return cells


def batches(config: ExperimentConfig, split: str, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches (B, L) of inputs and answers."""
    size = config.data.batch_size
    number = first
    while True:
        drawn = draw_chunk(config.data, split, number)
        for start in range(0, len(drawn.inputs) - size + 1, size):
            yield tuple(torch.from_numpy(part[start : start + size]) for part in drawn)
        number += 1


def updates(model: LanguageModel, config: ExperimentConfig) -> Iterator[int]:
    """Trains the model in place; yields how many updates it has had, after each."""
    steps = config.trainer.max_steps
    plan_training(model, steps)
    optimizer, schedule = make_optimizer(model, config.optim, steps)
    weights = layer_weights(config.model, config.optim.activation_cost_per)
    stream = batches(config, "train", first=1_000_000 * config.seed)
    for step in range(steps):
        inputs, answers = next(stream)
        asked = answers != BLANK
        out = model(inputs)
        loss = F.cross_entropy(out.logits[asked], answers[asked])
        cost = price(config.optim, step / steps)
        probability = probability_of_activation(out.activations, None, weights) if cost else None
        if probability is not None:
            loss = loss + cost * probability
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
        optimizer.step()
        schedule.step()
        yield step + 1


def train(config: ExperimentConfig) -> dict:
    """One run: its accuracy, rates and how they came about."""
    torch.manual_seed(config.seed)
    started, steps = time.process_time(), config.trainer.max_steps
    model = LanguageModel(config.model, len(vocabulary(config.data)))
    curve = []
    for done in updates(model, config):
        if done % (steps // 10) == 0 and done < steps:
            curve.append(round(measure(model, config, 256)["accuracy"], 3))
    result = measure(model, config, config.data.val_size)
    result["by_memory"] = {
        w: round(measure(with_memory(model, config, w), config, 512)["accuracy"], 3) for w in MEMORIES
    }
    return {**result, "curve": curve, "cpu_seconds": round(time.process_time() - started)}


def with_memory(model: LanguageModel, config: ExperimentConfig, memory_size: int) -> LanguageModel:
    """The same trained weights with another working memory: rotary positions have no table that depends on it."""
    other = LanguageModel(replace(config.model, memory_size=memory_size), model.embedding.num_embeddings)
    other.load_state_dict(model.state_dict())
    return other


@torch.no_grad()
def measure(model: LanguageModel, config: ExperimentConfig, sequences: int) -> dict:
    """Accuracy at the scored positions of the first validation sequences; each layer's rate, also by class of token."""
    model.eval()
    right = scored = 0
    classes = torch.zeros(len(CLASSES))
    active = torch.zeros(config.model.activating_layers, len(CLASSES))
    stream = batches(config, "val")
    for _ in range(-(-sequences // config.data.batch_size)):
        inputs, answers = next(stream)
        asked = answers != BLANK
        out = model(inputs)
        right += (out.logits.argmax(-1) == answers)[asked].sum().item()
        scored += asked.sum().item()
        kind = F.one_hot(torch.from_numpy(token_classes(config.data, inputs.numpy())), len(CLASSES)).float()
        classes += kind.sum((0, 1))
        active += torch.stack([kind[a.active].sum(0) for a in out.activations])
    model.train()
    by_class = [
        {name: round(float(n / total), 3) for name, n, total in zip(CLASSES, row, classes, strict=True) if total}
        for row in active
    ]
    rates = (active.sum(1) / classes.sum()).tolist()
    return {"accuracy": right / scored, "rate": sum(rates) / len(rates), "rates": rates, "by_class": by_class}


def finished(path: Path = RESULTS) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="fields to change in every run")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument(
        "--arms", nargs="*", choices=arms(), metavar="NAME", help=f"cells of the table: {', '.join(arms())}"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cells = arms()
    if options.arms is not None:
        cells = {name: cells[name] for name in options.arms}
    for seed in range(options.first_seed, options.seeds + 1):
        for name, own in cells.items():
            key = {"arm": name, "seed": seed, "overrides": list(options.overrides)}
            if any(all(row[k] == v for k, v in key.items()) for row in finished(options.out)):
                continue
            overrides = [*(each.replace("SEED", str(seed)) for each in own), *options.overrides, f"seed={seed}"]
            result = train(load_experiment(EXPERIMENT, overrides))
            options.out.parent.mkdir(parents=True, exist_ok=True)
            with options.out.open("a") as file:
                file.write(json.dumps({**key, **result}) + "\n")
            print(f"{name:24} seed {seed}  accuracy {result['accuracy']:.3f}  active {result['rate']:.3f}  "
                  f"{result['cpu_seconds']} s  {result['curve']}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
