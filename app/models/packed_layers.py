"""Layers of a sentence-embedding model or a cross-encoder, in fewer and larger steps than transformers takes.

PyTorch hands the weight of an `nn.Linear` of fp32 to MKL, which packs it anew for each product: for a short
text that takes longer than the product. oneDNN takes a weight that has been packed before. Queries, keys and
values are one product, GELU is part of another. All is computed in fp32; only the rounding differs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class PackedLinear(nn.Module):
    """What an `nn.Linear` of fp32 on a CPU does, for inference alone. [..., inputs] to [..., outputs]."""

    def __init__(self, weight: Tensor, bias: Tensor, then: str = "none") -> None:
        super().__init__()
        # What torch.compile makes of such layers when it may freeze their weights.
        self._product = torch.ops.mkldnn._linear_pointwise.default
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
        self._bias = bias.detach()
        self._then = then

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self._product(inputs, self._weight, self._bias, self._then, [], "none")
        return outputs


class PackedLayer(nn.Module):
    """A layer of BERT (https://arxiv.org/abs/1810.04805), as transformers loads it.

    Takes states [batch, tokens, width] and what may be attended to, [batch, 1, 1 or tokens, tokens].
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention = layer.attention
        parts = (attention.self.query, attention.self.key, attention.self.value)
        self._heads = attention.self.num_attention_heads
        self._attends = PackedLinear(
            torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        )
        self._attended = _packed(attention.output.dense)
        self._attended_norm = attention.output.LayerNorm
        self._widened = _packed(layer.intermediate.dense, then="gelu")
        self._narrowed = _packed(layer.output.dense)
        self._narrowed_norm = layer.output.LayerNorm

    def forward(self, states: Tensor, mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
        batch, tokens, _width = states.shape
        query, key, value = (
            self._attends(states).view(batch, tokens, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        )
        seen = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        seen = seen.transpose(1, 2).reshape(states.shape)
        states = self._attended_norm(self._attended(seen) + states)
        narrowed: Tensor = self._narrowed_norm(self._narrowed(self._widened(states)) + states)
        return narrowed


def pack_layers(model: nn.Module) -> None:
    """Put a PackedLayer in the place of each layer of a loaded model that can have one.

    Models of other families than BERT and XLM-RoBERTa stay as they are.
    """
    # Here, because importing what a model is made of takes a while, and is done when it is loaded anyhow.
    from transformers.models.bert.modeling_bert import BertLayer  # noqa: PLC0415
    from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaLayer  # noqa: PLC0415

    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for part in list(model.modules()):
        if isinstance(part, nn.ModuleList):
            for place, layer in enumerate(part):
                if isinstance(layer, BertLayer | XLMRobertaLayer) and _can_be_packed(layer):
                    part[place] = PackedLayer(layer)


def _packed(linear: nn.Linear, then: str = "none") -> PackedLinear:
    return PackedLinear(linear.weight, linear.bias, then)


def _can_be_packed(layer: Any) -> bool:
    config = layer.attention.self.config
    return (
        config.hidden_act == "gelu"
        and config._attn_implementation == "sdpa"
        and not config.is_decoder
        and layer.output.dense.weight.dtype == torch.float32
    )
