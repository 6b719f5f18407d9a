"""The objectives of a run's best checkpoint on a whole split."""

from pathlib import Path
from typing import Literal

from seqboat_lab.atomic import to_json, write_text


def evaluate_objectives(run_dir: Path, split: Literal["train", "val", "test"]) -> None:
    """Writes `objectives.json`: what a validation reports, by the same names, though measured on `split`.

    Costs that depend on the activation are those on the split; parameters and seconds are the run's.
    """
    from seqboat_lab.inference.evaluation import evaluate  # torch is slow to import
    from seqboat_lab.nn.cost import cost_per_token
    from seqboat_lab.training.model import make_datamodule
    from seqboat_lab.training.results import read_summary
    from seqboat_lab.training.run_config import run_config

    config = run_config(run_dir)
    measured = {f"val/{name}": value for name, value in evaluate(run_dir, split).items()}
    costs = {name: v for name, v in read_summary(run_dir)["metrics"].items() if name.startswith("cost/")}
    rates = [measured[f"val/activation_rate/layer_{i}"] for i in range(config.model.activating_layers)]
    if rates:
        spec = make_datamodule(config).spec
        counted = cost_per_token(config.model, spec.max_length, rates, spec.vocabulary_per_token)
        costs["cost/flops_per_token"] = counted["total"]
    text = to_json({"split": split, "checkpoint": "best", "metrics": {**costs, **measured}}, indent=2) + "\n"
    write_text(run_dir / "objectives.json", text)
