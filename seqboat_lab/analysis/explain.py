"""An experiment with what each of its fields means, as a person reads it in a terminal."""

import shutil
import sys
import textwrap
from typing import Any

from seqboat_lab.config.explain import as_yaml, explain


def print_explained(config: Any) -> None:
    """`key: value  (what may stand there)`, and below it what the field does, to the terminal's width."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    section = ""
    for field in explain(config):
        if (inside := field.key.rpartition(".")[0]) != section:
            section = inside
            print()
        print(f"{field.key}: {as_yaml(field.value)}  ({field.kind})")
        if field.doc:
            print(textwrap.fill(field.doc, max(40, width), initial_indent="    ", subsequent_indent="    "))
