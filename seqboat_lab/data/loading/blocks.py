"""How a split is cut into blocks for evaluation."""


def evaluation_blocks(length: int, tokens_per_sample: int, context: int) -> list[tuple[int, int, int]]:
    """Blocks (start, stop, first_scored) that score each of `length` predictions exactly once, in order.

    Prediction t reads byte t of `text` (length + 1,) and is scored against byte t + 1; `text` is what
    `LanguageDataModule.scored_bytes` gives. A block reads text[start:stop] and scores the predictions
    first_scored ... stop - 1. No block reads more than `tokens_per_sample` bytes. The first one scores all it
    reads; each later one begins with the `context` bytes before its first scored prediction, so that a
    prediction never sees fewer than `context` bytes, but at the very start.
    """
    if not 0 <= context < tokens_per_sample:
        raise ValueError(f"context must be from 0 to tokens_per_sample - 1 = {tokens_per_sample - 1}, not {context}")
    blocks, first = [], 0
    while first < length:
        start = max(0, first - context)
        stop = min(start + tokens_per_sample, length)
        blocks.append((start, stop, first))
        first = stop
    return blocks
