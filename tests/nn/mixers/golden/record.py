"""Records what published reference code computes, for tests/nn/mixers/test_golden.py; README.md says with which commits.

    python -m tests.nn.mixers.golden.record NAME CHECKOUT [CHECKOUT]

CHECKOUT is where the reference lies (for rwkv and gla a second one, of fla-org/flash-linear-attention); einops, and for
attention transformers, must be installed. Its modules run on the CPU: what they import for the GPU is replaced by
stand-ins, and their GPU kernels by the references' own plain loops. Weights are random and far from zero.
"""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import Tensor, nn

HERE = Path(__file__).parent
B, L, D = 2, 20, 12
Recorded = tuple[dict, dict[str, Tensor], Callable[[Tensor], Tensor]]
"""Our settings, the weights by our names, and the reference."""


class StandIn(MagicMock):
    """A module that is not here: whatever is asked of it exists, and decorators leave functions as they are."""

    __version__ = "9.9.9"

    @staticmethod
    def jit(function):
        function.configs = [MagicMock()]
        return function

    @staticmethod
    def autotune(*_, **__):
        return lambda function: function

    heuristics = autotune


def stand_in(*names: str) -> None:
    for name in names:
        module = StandIn(name=name)
        module.__spec__, module.__path__ = ModuleSpec(name, None), []
        sys.modules[name] = module


def load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def randomise(module: nn.Module, by: float = 0.4) -> dict[str, Tensor]:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=by).copy_(parameter.float())  # what is kept of it
    return module.state_dict()


def retnet(torchscale: Path) -> Recorded:
    stand_in("fairscale", "fairscale.nn", "timm", "timm.models", "timm.models.layers")
    sys.path.insert(0, str(torchscale))
    retention = importlib.import_module("torchscale.component.multiscale_retention")
    positions = importlib.import_module("torchscale.architecture.retnet").RetNetRelPos
    args = SimpleNamespace(
        layernorm_eps=1e-6, multiway=False, decoder_embed_dim=D, decoder_retention_heads=2, recurrent_chunk_size=5
    )
    module = retention.MultiScaleRetention(args, D, 2 * D, 2)
    return {"heads": 2}, randomise(module), lambda x: module(x, positions(args)(x.shape[1]))


def rwkv_model(rwkv_lm: Path, fla: Path) -> ModuleType:
    os.environ |= {
        "RWKV_JIT_ON": "0", "RWKV_HEAD_SIZE_A": str(D // 2), "RWKV_CTXLEN": str(L), "RWKV_TRAIN_TYPE": "",
        "RWKV_MY_TESTING": "x060",
    }  # fmt: skip
    stand_in(
        "pytorch_lightning", "pytorch_lightning.utilities", "pytorch_lightning.strategies", "torch.utils.cpp_extension"
    )
    naive = load(fla / "fla/ops/rwkv6/recurrent_naive.py", "recurrent_naive").naive_recurrent_rwkv6
    model = load(rwkv_lm / "RWKV-v5/src/model.py", "rwkv_model")

    def recurrence(B, T, C, H, r, k, v, w, u):
        r, k, v, w = (t.view(B, T, H, -1).transpose(1, 2) for t in (r, k, v, -torch.exp(w)))
        return naive(r, k, v, w, u, scale=1.0)[0].transpose(1, 2).reshape(B, T, C)

    model.RUN_CUDA_RWKV6 = recurrence
    return model


RWKV = SimpleNamespace(
    head_size_a=D // 2, dim_att=D, n_embd=D, n_layer=3, dim_ffn=42, head_size_divisor=8, my_testing="x060"
)


def rwkv(rwkv_lm: Path, fla: Path) -> Recorded:
    module = rwkv_model(rwkv_lm, fla).RWKV_Tmix_x060(RWKV, 1)
    theirs = randomise(module)
    names = {
        "mu": "time_maa_x", "mix_down": "time_maa_w1", "decay": "time_decay", "decay_down": "time_decay_w1",
        "decay_up": "time_decay_w2", "u": "time_faaaa", "r_proj.weight": "receptance.weight",
        "k_proj.weight": "key.weight", "v_proj.weight": "value.weight", "g_proj.weight": "gate.weight",
        "out_proj.weight": "output.weight", "norm.weight": "ln_x.weight", "norm.bias": "ln_x.bias",
    }  # fmt: skip
    ours = {mine: theirs[name] for mine, name in names.items()}
    for name in ("mu", "decay", "u"):
        ours[name] = ours[name].flatten()
    order = [0, 3, 1, 2, 4]  # theirs is w, k, v, r, g; ours d, r, k, v, g
    ours["lam"] = torch.cat([theirs[f"time_maa_{'wkvrg'[i]}"].flatten() for i in order])
    ours["mix_down"] = ours["mix_down"].unflatten(1, (5, -1))[:, order].flatten(1)
    ours["mix_up"] = theirs["time_maa_w2"][order]
    return {"heads": 2, "lora": 32}, ours, module


def rwkv_channel_mix(rwkv_lm: Path, fla: Path) -> Recorded:
    module = rwkv_model(rwkv_lm, fla).RWKV_CMix_x060(RWKV, 1)
    theirs = randomise(module)
    ours = {
        "mu": torch.cat([theirs["time_maa_k"].flatten(), theirs["time_maa_r"].flatten()]),
        "k_proj.weight": theirs["key.weight"],
        "r_proj.weight": theirs["receptance.weight"],
        "v_proj.weight": theirs["value.weight"],
    }
    return {"heads": 2, "lora": 32}, ours, module


def hyena(safari: Path) -> Recorded:
    module = load(safari / "standalone_hyena.py", "standalone_hyena").HyenaOperator(
        D, 30, order=2, filter_order=8, emb_dim=33, w=14, modulate=True
    )
    filter_net, module.filter_fn.implicit_filter = module.filter_fn.implicit_filter, nn.Identity()
    randomise(module)
    module.filter_fn.implicit_filter = filter_net
    with torch.no_grad():  # sines of sines of a large frequency are soon chaotic
        for linear in filter_net[::2]:
            linear.weight.mul_(0.2)
    randomise(filter_net, by=0.03)
    theirs = module.state_dict()
    filters = "filter_fn.implicit_filter"
    ours = {
        f"{part}.{what}": theirs[f"{part}.{what}"] for part in ("in_proj", "out_proj") for what in ("weight", "bias")
    }
    ours |= {f"short.{what}": theirs[f"short_filter.{what}"] for what in ("weight", "bias")}
    ours |= {
        f"filters.layers.{i}.{what}": theirs[f"{filters}.{2 * i}.{what}"]
        for i in range(3)
        for what in ("weight", "bias")
    }
    ours["filters.last.weight"] = theirs[f"{filters}.6.weight"]
    ours["filters.frequency"] = theirs[f"{filters}.1.freq"][0]
    ours["skip"] = theirs["filter_fn.bias"]
    # they train the features of the lag as well; back to what they start as
    fresh = type(module.filter_fn.pos_emb)(33, 30)
    module.filter_fn.pos_emb.z = fresh.z
    return {"filter_width": 8, "filter_length": 30}, ours, module


def mamba(mamba: Path) -> Recorded:
    stand_in("triton", "triton.language", "causal_conv1d", "causal_conv1d.causal_conv1d_varlen", "causal_conv1d_cuda")
    stand_in("causal_conv1d.cpp_functions", "selective_scan_cuda")
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.modules"):  # whose __init__ import more
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(mamba / name.replace(".", "/"))]
    theirs = importlib.import_module("mamba_ssm.modules.mamba2_simple")
    scan = importlib.import_module("mamba_ssm.ops.triton.ssd_combined").ssd_chunk_scan_combined_ref
    norm = importlib.import_module("mamba_ssm.ops.triton.layernorm_gated").rms_norm_ref
    theirs.causal_conv1d_fn = None
    theirs.mamba_chunk_scan_combined = lambda x, dt, A, B, C, chunk_size, D, z, seq_idx, initial_states: scan(
        x, dt, A, B, C, chunk_size, D=D
    )
    theirs.RMSNormGated.forward = lambda self, x, z: norm(
        x, self.weight, None, z=z, eps=self.eps, norm_before_gate=False, upcast=False
    )
    module = theirs.Mamba2Simple(D, d_state=5, headdim=6, chunk_size=5, use_mem_eff_path=False)
    ours = {name.replace("conv1d", "conv"): value for name, value in randomise(module).items()}
    return {"state_size": 5, "head_size": 6}, ours, module


def gla(gated_linear_attention: Path, fla: Path) -> Recorded:
    naive = load(fla / "fla/ops/gla/naive.py", "gla_naive").naive_recurrent_gla
    stand_in("triton", "triton.language", "fla", "fla.ops", "fla.ops.gla")
    theirs = load(gated_linear_attention / "gla.py", "gla_module")
    theirs.fused_recurrent_gla = lambda *qkvg: naive(*(t.transpose(1, 2) for t in qkvg))[0].transpose(1, 2)
    module = theirs.GatedLinearAttention(SimpleNamespace(d_model=D, n_head=2, use_gk=True, use_gv=False)).eval()
    w = randomise(module)
    ours = {
        "qk_proj.weight": torch.cat([w["q_proj.weight"], w["k_proj.weight"]]),
        "v_proj.weight": w["v_proj.weight"],
        "alpha_down.weight": w["k_gate.0.weight"],
        "alpha_up.weight": w["k_gate.1.weight"],
        "alpha_up.bias": w["k_gate.1.bias"],
        "gate_proj.weight": w["g_proj.weight"],
        "gate_proj.bias": w["g_proj.bias"],
        "out_proj.weight": w["out_proj.weight"],
    }
    return {"heads": 2, "gate_rank": 16}, ours, lambda x: module(x)[0]


def attention(config, kind: type[nn.Module], rotary: type[nn.Module], window: int | None) -> Recorded:
    """Theirs turns the halves of a head, ours neighbours: rows of q and k are reordered."""
    config._attn_implementation = "eager"
    module, turn = kind(config, 0).eval(), rotary(config)
    w = randomise(module)
    order = torch.arange(D // 2).view(2, -1).T.flatten()
    qk = [w[f"{name}_proj.weight"].unflatten(0, (2, -1))[:, order].flatten(0, 1) for name in "qk"]
    ours = {
        "qkv_proj.weight": torch.cat([*qk, w["v_proj.weight"]]),
        "qkv_proj.bias": torch.zeros(3 * D),
        "out_proj.weight": w["o_proj.weight"],
        "out_proj.bias": torch.zeros(D),
    }

    def reference(x: Tensor) -> Tensor:
        position = torch.arange(L)
        distance = position.unsqueeze(1) - position
        seen = (distance >= 0) & (distance < (window or L))
        mask = torch.zeros(1, 1, L, L).masked_fill(~seen, -torch.inf)
        return module(x, position_embeddings=turn(x, position.expand(B, -1)), attention_mask=mask)[0]

    return {"heads": 2}, ours, reference


def transformer(_: Path) -> Recorded:
    from transformers.models.llama import modeling_llama as llama

    config = llama.LlamaConfig(hidden_size=D, num_attention_heads=2, num_key_value_heads=2)
    return attention(config, llama.LlamaAttention, llama.LlamaRotaryEmbedding, None)


def local_attention(_: Path) -> Recorded:
    from transformers.models.mistral import modeling_mistral as mistral

    config = mistral.MistralConfig(hidden_size=D, num_attention_heads=2, num_key_value_heads=2, sliding_window=6)
    settings, ours, reference = attention(config, mistral.MistralAttention, mistral.MistralRotaryEmbedding, 6)
    return settings | {"window": 5}, ours, reference  # theirs counts the query's own token


REFERENCES = {f.__name__: f for f in (retnet, rwkv, rwkv_channel_mix, hyena, mamba, gla, transformer, local_attention)}

if __name__ == "__main__":
    name, *checkouts = sys.argv[1:]
    torch.set_default_dtype(torch.float64)
    settings, weights, reference = REFERENCES[name](*map(Path, checkouts))
    torch.manual_seed(1)
    x = torch.randn(B, L, D)
    with torch.no_grad():
        y = reference(x)
    arrays = {f"param.{key}": value.numpy().astype(np.float32) for key, value in weights.items()}
    np.savez_compressed(HERE / f"{name}.npz", settings=json.dumps(settings), x=x, y=y, **arrays)
    print(f"{name}: y {tuple(y.shape)}, std {y.std():.3g}")
