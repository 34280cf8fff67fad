"""The transformer in a sentence-embedding model or a cross-encoder, with its layers run by ONNX Runtime.

PyTorch takes some twenty steps a layer, packs weights of fp32 anew for each product, and takes Python's lock
again behind each step, so that it waits for whatever else runs. ONNX Runtime packs weights once and lets go
of the lock for all layers together. All is computed in fp32; only the rounding differs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from torch import Tensor, nn
from transformers import BertModel, XLMRobertaModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

STATES, ATTENDED_TO = "states", "attended to"
FUSED = "com.microsoft"
"""The domain of ONNX Runtime's own operators:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md."""


class OnnxBert(nn.Module):
    """A BERT (https://arxiv.org/abs/1810.04805) or XLM-RoBERTa, as transformers loads it, for inference.

    It answers as that does to token ids and a mask of those to attend to [batch, tokens].
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = model.config
        self.embeddings = model.embeddings
        self.pooler = model.pooler
        self._layers = _OnnxLayers(list(model.encoder.layer))

    def get_input_embeddings(self) -> nn.Module:
        """The vectors that words begin with, under transformers' name for them."""
        words: nn.Module = self.embeddings.word_embeddings
        return words

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPooling:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        states = self.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
        states = torch.from_numpy(self._layers.run(states.numpy(), attention_mask.numpy()))
        pooled = self.pooler(states) if self.pooler is not None else None
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled)


class _OnnxLayers:
    """All layers of a model, one after the other."""

    def __init__(self, layers: Sequence[Any]) -> None:
        graph = _Graph(layers)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Cores that spin until the next product are not there for the model that speaks.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Handed over beside the graph: inside it they would be copied twice, and could not exceed 2 GB.
        self._weights = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(weight) for name, weight in graph.weights.items()
        }
        options.add_external_initializers(list(self._weights), list(self._weights.values()))
        self._session = onnxruntime.InferenceSession(
            graph.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, states: NDArray[np.float32], attended_to: NDArray[np.int64]) -> NDArray[np.float32]:
        """The last states [batch, tokens, width] by those before them; `attended_to`: [batch, tokens]."""
        inputs = {STATES: states, ATTENDED_TO: attended_to.astype(np.int32)}
        [found] = self._session.run(None, inputs)
        last: NDArray[np.float32] = found
        return last


class _Graph:
    """The layers as operators of ONNX, one after the other; `weights` are what they compute with, by name."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.weights: dict[str, NDArray[np.float32]] = {}
        self._nodes: list[NodeProto] = []
        self._width = int(layers[0].attention.self.config.hidden_size)
        self._states = STATES
        for number, layer in enumerate(layers):
            self._add_layer(f"layer {number}", layer)

    def model(self) -> ModelProto:
        states: list[str | int | None] = ["batch", "tokens", self._width]
        graph: GraphProto = helper.make_graph(
            self._nodes,
            "layers",
            [
                helper.make_tensor_value_info(STATES, TensorProto.FLOAT, states),
                helper.make_tensor_value_info(ATTENDED_TO, TensorProto.INT32, states[:2]),
            ],
            [helper.make_tensor_value_info(self._states, TensorProto.FLOAT, states)],
            [_elsewhere(name, weight) for name, weight in self.weights.items()],
        )
        operators = [helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)]
        return helper.make_model(graph, opset_imports=operators, ir_version=9)

    def _add_layer(self, name: str, layer: Any) -> None:
        attention, narrowing = layer.attention, layer.output
        parts = (attention.self.query, attention.self.key, attention.self.value)
        weight = self._weight(f"{name}: attention", torch.cat([part.weight for part in parts]).T)
        bias = self._weight(f"{name}: attention bias", torch.cat([part.bias for part in parts]))
        heads = int(attention.self.num_attention_heads)
        attended = self._fused(
            "Attention", f"{name}: attended", [self._states, weight, bias, ATTENDED_TO], num_heads=heads
        )
        attended = self._product(f"{name}: mixing", attended, attention.output.dense)
        attended = self._added(f"{name}: mixed", attended, self._states, attention.output)
        widened = self._product(f"{name}: widening", attended, layer.intermediate.dense)
        widening_bias = self._weight(f"{name}: widening bias", layer.intermediate.dense.bias)
        widened = self._fused("BiasGelu", f"{name}: widened", [widened, widening_bias])
        narrowed = self._product(f"{name}: narrowing", widened, narrowing.dense)
        self._states = self._added(f"{name}: narrowed", narrowed, attended, narrowing)

    def _product(self, name: str, inputs: str, linear: nn.Linear) -> str:
        """What a linear layer makes of its inputs, without its bias."""
        made = f"{name}: product"
        self._nodes.append(helper.make_node("MatMul", [inputs, self._weight(name, linear.weight.T)], [made]))
        return made

    def _added(self, name: str, product: str, states: str, part: Any) -> str:
        """A product and its bias added to the states before it, and normalised."""
        weights = {"scale": part.LayerNorm.weight, "shift": part.LayerNorm.bias, "bias": part.dense.bias}
        named = [self._weight(f"{name}: {what}", weight) for what, weight in weights.items()]
        return self._fused(
            "SkipLayerNormalization", name, [product, states, *named], epsilon=float(part.LayerNorm.eps)
        )

    def _fused(self, operator: str, output: str, inputs: list[str], **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], domain=FUSED, **attributes))
        return output

    def _weight(self, name: str, weight: Tensor) -> str:
        self.weights[name] = np.ascontiguousarray(weight.detach().numpy())
        return name


def run_in_onnx(model: nn.Module) -> None:
    """Put an OnnxBert in the place of each part of a loaded model that is a BERT or an XLM-RoBERTa.

    Those of other families stay as they are.
    """
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, BertModel | XLMRobertaModel) and _can_be_run(child):
                setattr(part, name, OnnxBert(child))


def _can_be_run(model: Any) -> bool:
    config = model.config
    return (
        config.hidden_act == "gelu"
        and not (config.is_decoder or config.output_hidden_states or config.output_attentions)
        and config.num_hidden_layers > 0
        and model.dtype == torch.float32
    )


def _elsewhere(name: str, weight: NDArray[np.float32]) -> TensorProto:
    """A weight of the graph by name and shape; its numbers are handed over with the session's options."""
    tensor = TensorProto(
        name=name, data_type=TensorProto.FLOAT, dims=weight.shape, data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": "in memory", "offset": "0", "length": str(weight.nbytes)}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor
