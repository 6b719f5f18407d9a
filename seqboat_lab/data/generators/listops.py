"""ListOps trees as the Long Range Arena draws them (Nangia & Bowman 2018, Tay et al. 2020), repeatably.

Trees come in numbered chunks, each drawn from its own random stream, and chunks are joined in order: the data
is the same for any number of processes. No tree occurs twice, within a split or across splits.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from seqboat_lab.config import ListOpsConfig
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import landing, locked, user_path
from seqboat_lab.data.files.progress import counted
from seqboat_lab.data.generators.parallel import ordered_map

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
HEADER = "Source\tTarget\n"
OPERATOR_PROBABILITY = 0.25
CHUNK_TREES, CHUNK_TRIES = 200, 200_000
BARREN_CHUNKS = 5
"""So many chunks without a new tree mean that the settings allow no more."""


@dataclass(frozen=True)
class TreeShape:
    """Which trees are drawn, and which of them are kept: min_length < length < max_length."""

    min_length: int = 500
    max_length: int = 2000
    max_depth: int = 10
    max_args: int = 10


class _TooLong(Exception):  # noqa: N818 (a signal, not an error)
    pass


def draw_tree(uniform, shape: TreeShape) -> tuple[str, int, int] | None:
    """One tree as the official file writes it, its value and its length; None if it is too long to be kept.

    uniform: draws floats from [0, 1), whose sequence Python guarantees across versions (unlike `randint`).
    Length counts 1 for a digit and 2 + its arguments for an operator. The official text nests the list to the
    left: `[MAX 2 9 ]` is `( ( ( [MAX 2 ) 9 ) ] )`, one parenthesis per argument and one for the end.
    """
    max_length, max_depth, spread = shape.max_length, shape.max_depth, shape.max_args - 1
    pieces: list[str] = []
    length = 0
    write = pieces.append

    def node(depth: int) -> int:
        nonlocal length
        if depth >= max_depth or uniform() >= OPERATOR_PROBABILITY:
            length += 1
            digit = int(uniform() * 10)
            write(str(digit))
            return digit
        length += 2
        if length >= max_length:
            raise _TooLong
        operator = OPERATORS[int(uniform() * 4)]
        arguments = 2 + int(uniform() * spread)
        write("( " * (arguments + 1) + operator)
        values = []
        for _ in range(arguments):
            values.append(node(depth + 1))
            write(")")
        write("] )")
        return apply(operator, values)

    try:
        value = node(1)
    except _TooLong:
        return None
    return (" ".join(pieces), value, length) if length < max_length else None


def apply(operator: str, values: list[int]) -> int:
    """An operator's value: minimum, maximum, integer part of the median, or sum modulo 10."""
    if operator == "[MIN":
        return min(values)
    if operator == "[MAX":
        return max(values)
    if operator == "[SM":
        return sum(values) % 10
    ordered, n = sorted(values), len(values)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) // 2


def draw_chunk(number: int, *, shape: TreeShape, seed: int, split: str) -> list[tuple[str, int]]:
    """Chunk `number` of a split's endless stream of trees: up to CHUNK_TREES pairs (text, value)."""
    digest = hashlib.sha256(f"listops {seed} {split} {number}".encode()).digest()
    uniform = random.Random(int.from_bytes(digest, "big")).random
    trees = []
    for _ in range(CHUNK_TRIES):
        drawn = draw_tree(uniform, shape)
        if drawn is not None and drawn[2] > shape.min_length:
            trees.append(drawn[:2])
            if len(trees) == CHUNK_TREES:
                break
    return trees


def draw_split(
    shape: TreeShape, size: int, seed: int, split: str, seen: set[bytes], processes: int | None = None
) -> Iterator[tuple[str, int]]:
    """`size` trees (text, value) that are not in `seen`, which grows by them.

    Raises `DataError` when the settings do not allow that many different trees.
    """
    draw = partial(draw_chunk, shape=shape, seed=seed, split=split)
    chunks = ordered_map(draw, count(), processes)
    left, barren = size, 0
    try:
        while left > 0:
            before = len(seen)
            for text, value in next(chunks):
                key = hashlib.blake2b(text.encode(), digest_size=16).digest()
                if key in seen or left == 0:
                    continue
                seen.add(key)
                left -= 1
                yield text, value
            barren = barren + 1 if len(seen) == before else 0
            if barren == BARREN_CHUNKS:
                raise DataError(
                    f"ListOps generator: only {size - left} of {size} different {split} trees found with "
                    f"{shape.min_length} < length < {shape.max_length}, max_depth={shape.max_depth}, "
                    f"max_args={shape.max_args}; ask for fewer trees or allow more shapes"
                )
    finally:
        chunks.close()


def generated_directory(config: ListOpsConfig) -> Path:
    """Where the trees of these settings lie: the name says everything that decides their content."""
    c = config
    shape = f"length{c.min_length}-{c.max_length}_depth{c.max_depth}_args{c.max_args}"
    sizes = f"{c.train_size}-{c.val_size}-{c.test_size}"
    return user_path(c.root) / "listops" / f"{shape}_trees{sizes}_seed{c.generator_seed}"


def generate(config: ListOpsConfig, processes: int | None = None) -> Path:
    """Write `basic_{train,val,test}.tsv` in the official format unless they are there; their directory."""
    directory = generated_directory(config)
    files = [directory / f"basic_{split}.tsv" for split in ("test", "val", "train")]
    if all(file.is_file() for file in files):
        return directory
    with locked(directory):
        if all(file.is_file() for file in files):  # another process was first
            return directory
        shape = TreeShape(config.min_length, config.max_length, config.max_depth, config.max_args)
        seen: set[bytes] = set()
        with landing(directory) as temporary:
            temporary.mkdir()
            for split in ("test", "val", "train"):  # small ones first: their trees do not depend on train_size
                size = getattr(config, f"{split}_size")
                trees = draw_split(shape, size, config.generator_seed, split, seen, processes)
                with open(temporary / f"basic_{split}.tsv", "w", newline="\n") as file:
                    file.write(HEADER)
                    for text, value in counted(trees, f"generating ListOps ({split})", size):
                        file.write(f"{text}\t{value}\n")
    return directory
