"""What models cost, beside each other and measured."""

from seqboat_lab.cli import main


def test_several_models_are_described_beside_each_other(capsys):
    arguments = ["describe", "recall/noisy_mqar_tiny", "text_tiny", "model.kind=transformer", "model.layers=1"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    rows = {
        cells[1].strip(): [c.strip() for c in cells[2:4]]
        for cells in (x.split("│") for x in printed.splitlines())
        if len(cells) == 5
    }
    assert rows["model"] == ["1 x transformer", "1 x transformer"]
    d, length, words = (64, 128), (64, 512), (33, 256)
    forward = [24 * d[i] ** 2 + 4 * d[i] * length[i] + 2 * d[i] * words[i] for i in range(2)]
    assert rows["FLOPs per token, forward"][1] == f"{forward[1]:,}"
    training = 3 * forward[1] + 2 * d[1] * length[1]  # the scores are made again
    assert rows["FLOPs per token, training"][1] == f"{training:,}"
    assert rows["a stream carries"] == [f"{2 * d[i] * length[i] * 4 / 1000:.3g} kB" for i in range(2)]


def test_measured_beside_the_count(capsys):
    small = ["data.batch_size=2", "model.layers=1", "trainer.accelerator=cpu"]
    assert main(["describe", "recall/noisy_mqar_tiny", "--measure", *small]) == 0
    printed = capsys.readouterr().out
    rows = {
        cells[1].strip(): cells[2].strip()
        for cells in (line.split("│") for line in printed.splitlines())
        if len(cells) == 4
    }
    for what in ("forward", "training step"):  # which is longer depends on what else the machine does meanwhile
        assert float(rows[f"seconds, {what}"]) > 0
    kept, unit = rows["peak memory of the step"].split()
    assert unit in ("kB", "MB")
    assert float(kept) > 0
    assert rows["activation rate then"].endswith("%")
