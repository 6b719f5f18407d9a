"""`python -m benchmarks.recipe CONFIG`: one training step of a whole classifier on one sequence of full length; prints
seconds and the memory of the process as one JSON line."""

import json
import sys

import torch
import torch.nn.functional as F

from benchmarks.measure import DEVICE, seconds
from seqboat_lab.config import load_experiment
from seqboat_lab.nn import Classifier
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.results import peak_memory


def main(name: str) -> None:
    config = load_experiment(name)
    spec = make_datamodule(config).spec
    torch.manual_seed(0)
    model = Classifier(config.model, spec.num_classes, spec.vocab_size, pair=spec.head == "pair").train().to(DEVICE)
    rows = 2 if spec.head == "pair" else 1
    shape = (rows, spec.max_length)
    inputs = (torch.randint(1, spec.vocab_size, shape) if spec.vocab_size else torch.randn(shape)).to(DEVICE)
    label = torch.zeros(1, dtype=torch.long, device=DEVICE)
    rates = []

    def step() -> None:
        model.zero_grad()
        out = model(inputs)
        F.cross_entropy(out.logits, label).backward()
        rates[:] = [a.active.float().mean().item() for a in out.activations]

    took = seconds(step, repeats=3)
    result = {
        "recipe": name,
        "shape": f"{config.model.layers} layers, B 1, L {spec.max_length:,}",
        "active": sum(rates) / len(rates),
        "forward+backward": took,
        "process GB": peak_memory() / 1e9,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
