"""Processes know each other to be alive, and which one is not."""

import torch.distributed as dist

from seqboat_lab.training.callbacks import together
from seqboat_lab.training.callbacks.together import SILENT_SECONDS, Beats


def test_a_silent_process_is_named_to_all_and_one_that_has_ended_to_nobody(monkeypatch):
    now = 0.0
    monkeypatch.setattr(together.time, "monotonic", lambda: now)
    store = dist.HashStore()
    beats = [Beats(store, "run", rank, 4) for rank in range(4)]
    earlier = Beats(store, "before", 0, 4)  # of before a restart, in the same store
    for now in range(60):
        alive = [each.beat() for each in beats]
        assert alive == [None] * 4
        if now == 20:
            beats.pop().end()
            break
    while now < 50:
        now += 1
        assert [each.beat() for each in beats] == [None] * 3
    lost_at, lost = now, beats.pop()
    assert lost.rank == 2
    found = []
    while not found and now < lost_at + 60:
        now += 1
        found = [who for each in beats if (who := each.beat()) is not None]
    assert found == [2, 2]  # the first process sees it, and tells the other
    assert SILENT_SECONDS < now - lost_at <= SILENT_SECONDS + 2
    assert earlier.session != "run"


def test_the_first_process_is_watched_by_all(monkeypatch):
    now = 0.0
    monkeypatch.setattr(together.time, "monotonic", lambda: now)
    store = dist.HashStore()
    beats = [Beats(store, "run", rank, 3) for rank in range(3)]
    assert [each.beat() for each in beats] == [None] * 3
    now = SILENT_SECONDS + 1
    assert [each.beat() for each in beats[1:]] == [0, 0]
