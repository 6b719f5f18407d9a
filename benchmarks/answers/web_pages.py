"""Pages that this machine has (manual pages, HTML, Markdown) as a local data set for the task `web_text`.

    .venv/bin/python -m benchmarks.answers.web_pages [--megabytes 30]

writes data/web_pages/{train,validation}.jsonl, a document a line; which split a document belongs to, and their order,
are decided by a hash of its text, so that equal documents count once. A stand-in for C4 where there is no network.
"""

import argparse
import gzip
import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from seqboat_lab import command
from seqboat_lab.atomic import write_text
from seqboat_lab.config.checks import require

PLACES = ("/usr/share/man/man*", "/usr/share/doc", "/usr/lib/python3*", "/usr/local/lib/python3*")
ENDINGS = (".gz", ".md", ".html", ".htm")
SHORTEST, LONGEST = 200, 100_000  # bytes
HELD_OUT = 0.05


def documents() -> Iterator[str]:
    """The text of every page that is UTF-8, markup included."""
    for pattern in PLACES:
        for place in sorted(Path("/").glob(pattern[1:])):
            for path in sorted(place.rglob("*")):
                manual = path.suffix == ".gz" and "/man" in str(path)
                if not (manual or path.suffix in ENDINGS[1:]) or path.is_symlink() or not path.is_file():
                    continue
                try:
                    text = (gzip.decompress(path.read_bytes()) if manual else path.read_bytes()).decode()
                except (OSError, ValueError, EOFError):
                    continue
                if SHORTEST <= len(text) <= LONGEST:
                    yield text


def write(directory: Path, megabytes: float) -> dict[str, int]:
    """Writes both splits, of at most so many bytes of text together; the bytes of each."""
    by_hash = {sha256(text.encode()).hexdigest(): text for text in documents()}
    require(bool(by_hash), "pages", 0, "manual pages, HTML or Markdown under " + ", ".join(PLACES))
    splits: dict[str, list[str]] = {"train": [], "validation": []}
    left = megabytes * 1e6
    for key in sorted(by_hash):
        left -= len(by_hash[key].encode())
        if left < 0:
            break
        splits["validation" if int(key[-8:], 16) < HELD_OUT * 16**8 else "train"].append(by_hash[key])
    for name, texts in splits.items():
        write_text(directory / f"{name}.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in texts))
    return {name: sum(len(text.encode()) for text in texts) for name, texts in splits.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=30.0, help="of text, at most (default 30)")
    parser.add_argument("--out", type=Path, default=Path("data") / "web_pages")
    options = parser.parse_args(arguments)
    for name, size in write(options.out, options.megabytes).items():
        print(f"{options.out / name}.jsonl: {size:,} bytes")


if __name__ == "__main__":
    raise SystemExit(command.run(main))
