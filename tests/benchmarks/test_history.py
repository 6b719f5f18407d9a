"""Earlier versions of the layer beside today's."""

import subprocess

import pytest

from benchmarks.history import ROOT, history


def worktrees() -> str:
    return subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True).stdout


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_a_commit_that_is_not_there_is_one_line_and_leaves_nothing():
    before = worktrees()
    with pytest.raises(
        SystemExit, match=r"git worktree add .* 0123abc: fatal: .*a whole clone has all commits"
    ) as said:
        history(["0123abc"], ["image-10%"], repeats=1)
    assert "\n" not in str(said.value)
    assert worktrees() == before


@pytest.mark.slow
def test_todays_layer_beside_itself():
    alone, row = history([], ["image-10%"], repeats=3)
    assert (alone["version"], row["version"]) == ("now, torch alone", "now")
    assert row["image-10%, / now"] == 1
    assert 1 < row["image-10%, MB"] < 500
