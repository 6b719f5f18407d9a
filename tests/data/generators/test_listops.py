"""The ListOps generator against an evaluator and a shape checker written here from the task's definition."""

import re

import numpy as np
import pytest

from seqboat_lab.config import ListOpsConfig
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.generators.listops import TreeShape, draw_split, generate, generated_directory


def parse(text: str):
    """The official nested parentheses as a Python tree: a digit, or (operator, [arguments])."""
    tokens = text.split()

    def read():
        token = tokens.pop(0)
        if token != "(":
            return token
        left, right = read(), read()
        assert tokens.pop(0) == ")"
        return left, right

    def unnest(node):
        if isinstance(node, str):
            return int(node)
        rest, end = node
        assert end == "]"
        arguments = []
        while isinstance(rest, tuple):
            rest, argument = rest
            arguments.insert(0, unnest(argument))
        assert re.fullmatch(r"\[(MIN|MAX|MED|SM)", rest)
        return rest, arguments

    tree = unnest(read())
    assert tokens == []
    return tree


def evaluate(tree) -> int:
    if isinstance(tree, int):
        return tree
    operator, arguments = tree
    values = [evaluate(a) for a in arguments]
    return int({"[MIN": np.min, "[MAX": np.max, "[MED": np.median, "[SM": np.sum}[operator](values)) % 10


def length(tree) -> int:
    return 1 if isinstance(tree, int) else 2 + sum(map(length, tree[1]))


def depth(tree) -> int:
    return 1 if isinstance(tree, int) else 1 + max(map(depth, tree[1]))


def arities(tree):
    if not isinstance(tree, int):
        yield len(tree[1])
        for argument in tree[1]:
            yield from arities(argument)


SHAPE = TreeShape(min_length=10, max_length=100, max_depth=6, max_args=7)


def draw(size, split="train", seed=0, shape=SHAPE, processes=1):
    return list(draw_split(shape, size, seed, split, set(), processes))


def test_values_lengths_depths_and_arguments_are_those_of_the_definition():
    trees = [(parse(text), value) for text, value in draw(1500)]
    for tree, value in trees:
        assert value == evaluate(tree)
        assert 10 < length(tree) < 100
        assert depth(tree) <= 6
    counts = [n for tree, _ in trees for n in arities(tree)]
    assert set(counts) == set(range(2, 8))
    assert max(depth(tree) for tree, _ in trees) == 6


def test_official_size_trees_are_evaluated_right():
    for text, value in draw(40, shape=TreeShape()):
        tree = parse(text)
        assert value == evaluate(tree)
        assert 500 < length(tree) < 2000
        assert depth(tree) <= 10


def test_operators_and_digits_are_drawn_evenly():
    text = " ".join(text for text, _ in draw(3000))
    operators = [text.count(op) for op in ("[MIN", "[MAX", "[MED", "[SM")]
    digits = [text.count(digit) for digit in "0123456789"]
    for counts in (operators, digits):
        expected = sum(counts) / len(counts)
        assert max(abs(np.array(counts) - expected)) < 6 * expected**0.5


def test_an_argument_is_an_operator_with_probability_one_quarter():
    """Among trees that may be of any length, the children of the root are fair draws."""
    shape = TreeShape(min_length=1, max_length=10_000, max_depth=3, max_args=10)
    children = [child for text, _ in draw(3000, shape=shape) for child in parse(text)[1]]
    share = np.mean([not isinstance(child, int) for child in children])
    assert abs(share - 0.25) < 0.02


def test_the_official_parentheses():
    texts = [text for text, _ in draw(300, shape=TreeShape(3, 6, 2, 3))]
    assert all(re.fullmatch(r"(\( )+\[[A-Z]+( \d \))+ \] \)", text) for text in texts)
    assert any(re.fullmatch(r"\( \( \( \[MAX \d \) \d \) \] \)", text) for text in texts)


@pytest.mark.parametrize("processes", [2, 3])
def test_the_data_is_the_same_for_any_number_of_processes(processes):
    assert draw(700, processes=processes) == draw(700, processes=1)


def test_splits_and_seeds_draw_differently():
    first = draw(100)
    assert first != draw(100, split="val")
    assert first != draw(100, seed=1)
    assert first == draw(150)[:100]


def small(tmp_path, **changes) -> ListOpsConfig:
    fields = {"min_length": 3, "max_length": 9, "max_depth": 3, "max_args": 4}
    sizes = {"train_size": 3000, "val_size": 300, "test_size": 300}
    return ListOpsConfig(root=str(tmp_path), source="generated", **fields | sizes | changes)


def sources(directory, split):
    lines = (directory / f"basic_{split}.tsv").read_text().splitlines()
    assert lines[0] == "Source\tTarget"
    return [line.split("\t")[0] for line in lines[1:]]


def test_no_tree_occurs_twice_within_or_across_splits(tmp_path):
    """Trees this short repeat often when drawn freely, so this fails if distinctness is not enforced."""
    directory = generate(small(tmp_path), processes=2)
    trees = [tree for split in ("train", "val", "test") for tree in sources(directory, split)]
    assert len(trees) == len(set(trees)) == 3600


def test_files_are_equal_byte_for_byte_for_any_number_of_processes(tmp_path):
    one, three = (generate(small(tmp_path / str(p)), processes=p) for p in (1, 3))
    for split in ("train", "val", "test"):
        assert (one / f"basic_{split}.tsv").read_bytes() == (three / f"basic_{split}.tsv").read_bytes()


def test_generating_again_changes_nothing(tmp_path):
    directory = generate(small(tmp_path), processes=1)
    before = (directory / "basic_train.tsv").stat().st_mtime_ns
    assert generate(small(tmp_path), processes=1) == directory
    assert (directory / "basic_train.tsv").stat().st_mtime_ns == before


def test_every_setting_that_changes_the_data_changes_its_directory(tmp_path):
    base = small(tmp_path)
    names = {generated_directory(base)}
    for field in (
        "min_length", "max_length", "max_depth", "max_args", "train_size", "val_size", "test_size",
        "generator_seed",
    ):  # fmt: skip
        names.add(generated_directory(small(tmp_path, **{field: getattr(base, field) + 1})))
    assert len(names) == 9


def test_settings_that_allow_too_few_trees_are_refused_and_leave_nothing(tmp_path):
    only_400_exist = {"min_length": 3, "max_length": 5, "max_depth": 2, "max_args": 2}
    config = small(tmp_path, **only_400_exist, train_size=5000, val_size=100, test_size=100)
    with pytest.raises(DataError, match=r"only 200 of 5000 different train trees .* ask for fewer trees"):
        generate(config, processes=1)
    assert not [path for path in (tmp_path / "listops").iterdir() if path.suffix != ".lock"]
