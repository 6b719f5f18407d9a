"""Training on a file of your own, from Python: writes a small CSV, trains, loads the run, shows what was activated.

    python examples/own_data.py [FOLDER]

The made-up task: rows of digits 0 to 7 with one 8 and one 9 among them; which of the two comes last? Some ten seconds
on one CPU core. `seqboat fit experiment.yaml data.path=digits.csv`, in FOLDER, does the same from a shell.
"""

import random
import sys
import tempfile
from pathlib import Path

import torch

from seqboat_lab.config import load_experiment
from seqboat_lab.inference.evaluation import load_run
from seqboat_lab.training.experiment import fit

EXPERIMENT = """
task: array
data: {kind: ids, batch_size: 32}
model: {layers: 1, d_model: 32, d_hidden: 32, d_attention: 16, memory_size: 16, classifier_hidden: 32, dropout: 0.0,
        configurator: {kind: tempered_softmax, temperature_scale: 3.0}}
optim: {lr: 1e-2, warmup_steps: 20}
trainer: {max_steps: 200, val_every: 100, progress: false, threads: 1, accelerator: cpu}
"""


def write_csv(path: Path, rows: int = 2000) -> None:
    draw, lines = random.Random(0), ["sequence,label"]
    for _ in range(rows):
        digits = [*draw.choices("01234567", k=draw.randint(5, 25)), "8", "9"]
        draw.shuffle(digits)
        lines.append(" ".join(digits) + (",eight" if digits.index("8") > digits.index("9") else ",nine"))
    path.write_text("\n".join(lines) + "\n")


def main(folder: Path) -> None:
    write_csv(folder / "digits.csv")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    places = [f"data.path={folder / 'digits.csv'}", f"data.root={folder / 'data'}"]
    summary = fit(load_experiment(str(folder / "experiment.yaml"), places), folder / "run")
    metrics = summary["metrics"]
    print(f"accuracy {metrics['val/accuracy']:.1%}, activation rate {metrics['val/activation_rate']:.1%}")

    module, data = load_run(folder / "run")  # the best checkpoint, in evaluation mode
    data.prepare_data()
    data.setup()
    batch = data.dataset("test")[range(5)]
    with torch.no_grad():
        logits, activations, _ = module(batch)
    active = activations[0].active  # (B, L) bool: the tokens that layer 0 sends to attention
    for i, row in enumerate(batch.inputs.tolist()):
        digits = zip(data.decode(row), active[i].tolist(), strict=True)
        shown = "".join(f"[{digit}]" if chosen else digit for digit, chosen in digits)
        print(f"{shown:<60} {data.classes[int(logits[i].argmax())]}, in truth {data.classes[int(batch.labels[i])]}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="own_data_"))
    folder.mkdir(parents=True, exist_ok=True)
    main(folder.absolute())
