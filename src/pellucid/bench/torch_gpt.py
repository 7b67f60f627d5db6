"""The GPT of the benchmark in plain PyTorch (nanoGPT's architecture and names), for comparison
only.
"""

from __future__ import annotations

from typing import Any


def build(torch: Any, vocab: int, context: int, layers: int, heads: int, width: int) -> Any:
    """A decoder-only transformer whose state dict has nanoGPT's names."""
    nn = torch.nn

    class Attention(nn.Module):  # type: ignore[misc, name-defined]  # torch is an argument here
        def __init__(self) -> None:
            super().__init__()
            self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

        def forward(self, x: Any) -> Any:
            b, t, c = x.shape
            q, k, v = (
                y.view(b, t, heads, c // heads).transpose(1, 2)
                for y in self.c_attn(x).split(width, dim=2)
            )
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.c_proj(y.transpose(1, 2).reshape(b, t, c))

    class MLP(nn.Module):  # type: ignore[misc, name-defined]  # torch is an argument here
        def __init__(self) -> None:
            super().__init__()
            self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            return self.c_proj(nn.functional.gelu(self.c_fc(x)))

    class Block(nn.Module):  # type: ignore[misc, name-defined]  # torch is an argument here
        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.attn = nn.LayerNorm(width), Attention()
            self.ln_2, self.mlp = nn.LayerNorm(width), MLP()

        def forward(self, x: Any) -> Any:
            x = x + self.attn(self.ln_1(x))
            return x + self.mlp(self.ln_2(x))

    class GPT(nn.Module):  # type: ignore[misc, name-defined]  # torch is an argument here
        def __init__(self) -> None:
            super().__init__()
            self.transformer = nn.ModuleDict(
                {
                    "wte": nn.Embedding(vocab, width),
                    "wpe": nn.Embedding(context, width),
                    "h": nn.ModuleList([Block() for _ in range(layers)]),
                    "ln_f": nn.LayerNorm(width),
                }
            )
            self.lm_head = nn.Linear(width, vocab, bias=False)
            self.transformer["wte"].weight = self.lm_head.weight

        def forward(self, idx: Any) -> Any:
            t = self.transformer
            x = t.wte(idx) + t.wpe(torch.arange(idx.shape[1]))
            for block in t.h:
                x = block(x)
            return self.lm_head(t.ln_f(x))

    return GPT()
