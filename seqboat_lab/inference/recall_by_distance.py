"""A long stream with questions through the recurrent state: what is answered rightly, by how far back the answer is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from seqboat_lab.inference.streaming import SEGMENT, Piece, read
from seqboat_lab.nn import LanguageModel
from seqboat_lab.nn.layer import LayerState
from seqboat_lab.nn.state_size import bytes_of
from seqboat_lab.training.metrics import ActivationMetrics
from seqboat_lab.training.results import peak_memory


@dataclass(frozen=True)
class StreamedRecall:
    """Rows of plain numbers, as a table would have them."""

    answers: np.ndarray
    """(q, 3) int64: where each question stands, how far back its answer was told, whether it was answered rightly."""
    windows: list[dict[str, Any]]
    """Of each part of the stream: `from_token`, `to_token`, `seconds_per_token`, `state_bytes` carried, `process_bytes`
    (the peak so far), and what `ActivationMetrics` names."""
    activation: dict[str, float]
    """The same of the whole stream."""
    states: dict[int, list[LayerState]]
    """What was carried after so many tokens: those asked for."""


def recall_by_distance(
    model: LanguageModel,
    tokens: np.ndarray,
    distances: np.ndarray,
    *,
    window: int = 65_536,
    segment: int = SEGMENT,
    keep: Sequence[int] = (),
) -> StreamedRecall:
    """Stream tokens (n,), of which those with a distance above 0 ask for the token that follows.

    Args:
        distances: (n,) how far before each question's key its answer was told; 0 = no question.
        window: tokens of a row of `windows`, a multiple of the segment's.
        segment: tokens of one forward; decides memory and speed, not the answers.
        keep: keep the state after so many tokens, or at the end of the segment in which they lie.
    """
    device, config = model.embedding.weight.device, model.encoder.config
    whole, part = ActivationMetrics(config).to(device), ActivationMetrics(config).to(device)
    answers: list[np.ndarray] = []
    windows: list[dict[str, Any]] = []
    states: dict[int, list[LayerState]] = {}
    wanted, begun, taken, clock = sorted(keep), 0, 0.0, time.perf_counter()
    for piece in read(model, tokens[:-1], segment):
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken += time.perf_counter() - clock  # what is computed below is not the model's
        answers.append(_answered(piece, tokens, distances))
        stop = piece.start + piece.out.logits.shape[1]
        for metrics in (whole, part):
            metrics.update(piece.out.activations, reach=piece.reach)
        if stop - begun >= window or stop == len(tokens) - 1:
            windows.append({
                "from_token": begun, "to_token": stop, "seconds_per_token": taken / (stop - begun),
                "state_bytes": bytes_of(piece.out.state), "process_bytes": peak_memory(), **_numbers(part),
            })  # fmt: skip
            part.reset()
            begun, taken = stop, 0.0
        while wanted and stop >= wanted[0]:
            wanted.pop(0)
            assert piece.out.state is not None  # one was passed in
            states[stop] = piece.out.state
        clock = time.perf_counter()
    return StreamedRecall(np.concatenate(answers), windows, _numbers(whole), states)


def by_distance(answers: np.ndarray) -> list[dict[str, Any]]:
    """Accuracy of the questions whose answers were told 2^k or more, but fewer than 2^(k + 1), tokens before them."""
    octave = np.log2(answers[:, 1]).astype(int)
    rows = []
    for k in np.unique(octave).tolist():
        right = answers[octave == k, 2]
        rows.append({
            "distance_from": 2**k, "distance_below": 2 ** (k + 1), "questions": len(right), "right": int(right.sum()),
            "accuracy": float(right.mean()),
        })  # fmt: skip
    return rows


def seconds_per_step(
    model: LanguageModel, states: dict[int, list[LayerState]], tokens: np.ndarray, *, steps: int = 100, rounds: int = 7
) -> dict[int, list[float]]:
    """Seconds per token, one token after the other, of each round of `steps` from each state on, as many tokens into
    the stream as its key says. Rounds of all states take turns, so that a busy moment of the machine hits them alike.
    """
    device = model.embedding.weight.device
    ids = {at: torch.from_numpy(tokens[at : at + steps].astype(np.int64)).to(device) for at in states}
    times: dict[int, list[float]] = {at: [] for at in states}
    with torch.no_grad():
        for turn in range(rounds + 1):
            for at, kept in states.items():
                # a step writes into the state that it is given
                state = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, kept)
                start = time.perf_counter()
                for token in ids[at]:
                    _, _, state = model.step(token[None], state)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if turn:  # the first one warms up
                    times[at].append((time.perf_counter() - start) / len(ids[at]))
    return times


def _answered(piece: Piece, tokens: np.ndarray, distances: np.ndarray) -> np.ndarray:
    stop = piece.start + piece.out.logits.shape[1]
    place = piece.start + distances[piece.start : stop].nonzero()[0]
    said = piece.out.logits[0, torch.from_numpy(place - piece.start)].argmax(-1).cpu().numpy()
    return np.stack([place, distances[place].astype(np.int64), said == tokens[place + 1]], axis=1)


def _numbers(metrics: ActivationMetrics) -> dict[str, float]:
    return {name: value.item() for name, value in metrics.compute().items()}
