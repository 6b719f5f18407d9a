"""What a person read in the baselines' results (2026-11-26), with the numbers taken from the tables."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from seqboat_lab.analysis.baselines import Best, best_of_each

Tasks = Mapping[str, Sequence[dict[str, Any]]]


def _recall(best: dict[str, Best]) -> str:
    def at(mixer: str, lr: float) -> str:
        return f"{100 * best[mixer].by_rate[lr].mean:.1f} %"

    return f"""Noisy recall, 600 updates: RWKV 6, SeqBoat, Mamba 2 and MEGA recall everything at the best of three
    learning rates. RWKV does so at two of them, and comes to {at("rwkv", 0.001)} at the third, where SeqBoat has
    {at("seqboat", 0.001)}: it learns fastest here. SeqBoat needs its learning rate, and attends with
    {100 * (best["seqboat"].activation_rate or 0):.0f} % of its tokens, MEGA with all. RetNet learns it with some
    seeds. The others do not in 600 updates; that says nothing about longer training, and a softmax transformer
    without a convolution or a recurrence is known to need far more updates for recall. No claim that SeqBoat is
    better than RWKV or Mamba can be made from this."""


def _listops(best: dict[str, Best]) -> str:
    def quality(mixer: str) -> str:
        return f"{100 * best[mixer].quality.mean:.1f}"

    others = [each.forward_flops for mixer, each in best.items() if mixer != "seqboat"]
    own = best["seqboat"]
    return f"""ListOps, 500 updates: the SSM alone, twice as wide for the same FLOPs, is best ({quality("ssm")} %),
    then SeqBoat and MEGA ({quality("seqboat")} and {quality("mega")} %, whose intervals overlap). SeqBoat gets
    there by hardly using attention, {100 * (own.activation_rate or 0):.0f} % of the tokens, and so costs
    {own.forward_flops:,.0f} forward FLOPs a token where the others have {min(others):,.0f} to {max(others):,.0f}:
    on this task, at this size, it learns that attention does not pay. GLA and RWKV are as good within their
    intervals; the transformers and Mamba are behind after so few updates. Where SeqBoat wins: FLOPs at equal
    quality, here and against MEGA on recall. Where it loses: against RWKV on recall in robustness to the learning
    rate, and against a wider SSM on ListOps in accuracy."""


def _text(best: dict[str, Best]) -> str:
    def bits(mixer: str) -> str:
        return f"{best[mixer].quality.mean:.2f} ± {best[mixer].quality.half:.2f}"

    edge = sum(each.lr == max(each.by_rate) for each in best.values())
    own, mega = best["seqboat"], best["mega"]
    return f"""Text, 300 updates: Mamba 2 is best by far ({bits("mamba")} bits per byte), then the SSM alone
    ({bits("ssm")}) and RWKV ({bits("rwkv")}). MEGA, Hyena and SeqBoat ({bits("seqboat")}) cannot be told apart, the
    last with {100 * (own.activation_rate or 0):.0f} % of its tokens active and
    {100 * own.forward_flops / mega.forward_flops:.0f} % of MEGA's forward FLOPs. Softmax transformers come last
    ({bits("transformer")}): they must learn to look at their neighbours, which a convolution or a decay does from the
    start, and 300 updates are few. {edge} of the {len(best)} are best at the highest learning rate, so it should have
    gone higher, and the order among those may change there, and in longer runs."""


READ = {"recall": _recall, "listops": _listops, "text": _text}


def notes(tasks: Tasks) -> str:
    """The paragraphs about those of the tasks that were read."""
    parts = []
    for task, read in READ.items():
        if task in tasks:
            parts.append(read({best.mixer: best for best in best_of_each(tasks[task])}))
    parts.append("Seconds are not to be compared: other work shared the two cores while the runs were made.")
    wrapped = [fill(" ".join(part.split()), 118) for part in parts]
    return "\n\n".join(["## What is in it", *wrapped]) + "\n"
