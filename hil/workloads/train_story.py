"""Make the story workload anew: train a small character model, write it as ONNX one character a call.

``python -m hil.workloads.train_story [DIRECTORY]`` needs the extra ``train`` (torch) and takes about five minutes on
one core. Seed and single thread make it repeatable on one kind of CPU; another may round differently and give other,
equally good weights, which is why the files are committed.

The text, ``shakespeare.txt.xz``, is the first 500,000 characters of a well-known collection of scenes from
Shakespeare's plays (tinyshakespeare.txt of karpathy/char-rnn); the plays are in the public domain. The last
twentieth of it is held out.

The model is a decoder of three layers. It has no position embedding: the further back a character lies, the more is
taken from its score (O. Press et al., Train Short, Test Long: Attention with Linear Biases, 2022). So its memory can be
a shift register, in which the newest key and value push the oldest out, and a text has no largest length.
"""

from __future__ import annotations

import lzma
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

Floats = npt.NDArray[np.float32]

SEED = 7
STEPS = 2000
BATCH = 24
WINDOW = 128
"""Characters that the model remembers, and the length of a training text."""
LAYERS, WIDTH, HIDDEN = 3, 64, 168
KEY_HEADS, QUERIES = 2, 2
"""Heads of keys and values, and heads of queries that share one of them."""
HEAD = WIDTH // (KEY_HEADS * QUERIES)
SLOPES = 2.0 ** -np.array([[1, 3], [5, 7]], np.float32)
TEST_CHARACTERS = 2048
UNSEEN = 1e9
"""Taken from the score of a place in memory that holds nothing yet."""
OPSET = 17


def text() -> str:
    """Give the whole text."""
    return lzma.decompress((Path(__file__).parent / "shakespeare.txt.xz").read_bytes()).decode("ascii")


class Layer(nn.Module):  # type: ignore[misc]  # torch is not there where types are checked
    """Attention, then a gated product, each on normalised values and added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        keys = KEY_HEADS * HEAD
        self.norm_a, self.norm_b = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, WIDTH + 2 * keys, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.up = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.down = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Give the values of [batch, length, WIDTH] after the layer."""
        batch, length, _ = x.shape
        keys = KEY_HEADS * HEAD
        q, k, v = self.qkv(self.norm_a(x)).split((WIDTH, keys, keys), -1)
        q = q.view(batch, length, KEY_HEADS, QUERIES, HEAD).permute(0, 2, 3, 1, 4)
        k = k.view(batch, length, KEY_HEADS, 1, HEAD).permute(0, 2, 3, 1, 4)
        v = v.view(batch, length, KEY_HEADS, 1, HEAD).permute(0, 2, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * HEAD**-0.5 + bias
        mixed = (scores.softmax(-1) @ v).permute(0, 3, 1, 2, 4).reshape(batch, length, WIDTH)
        x = x + self.out(mixed)
        h = self.norm_b(x)
        return x + self.down(functional.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):  # type: ignore[misc]  # see Layer
    """From characters [batch, length] to the logits of each next one."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, characters, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Give [batch, length, characters]."""
        length = tokens.shape[1]
        distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        bias = -torch.tensor(SLOPES)[:, :, None, None] * distance
        bias = bias.masked_fill((distance < 0) | (distance >= WINDOW), -UNSEEN)
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, bias)
        return self.head(self.norm(x))


def train(tokens: npt.NDArray[np.int64], characters: int) -> Decoder:
    """Train on random windows of a text."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    net, whole = Decoder(characters), torch.from_numpy(tokens)
    nn.init.normal_(net.embed.weight, std=0.1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=STEPS, pct_start=0.1)
    for step in range(STEPS):
        starts = torch.randint(len(whole) - WINDOW, (BATCH, 1))
        picked = whole[starts + torch.arange(WINDOW + 1)]
        loss = functional.cross_entropy(net(picked[:, :-1]).flatten(0, 1), picked[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1} of {STEPS}: {loss.item():.3f} nats", flush=True)
    net.eval()
    return net


def held_out_loss(net: Decoder, tokens: npt.NDArray[np.int64]) -> float:
    """Give the mean cross-entropy in nats on the held-out text, each character seen with all that come before it."""
    whole = torch.from_numpy(tokens[:2048])
    with torch.no_grad():
        logits = net(whole[None, :-1])
    return float(functional.cross_entropy(logits[0], whole[1:]))


class GraphWriter:
    """Nodes and constants of the ONNX graph, one character a call."""

    def __init__(self, net: Decoder) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._net = {name: value.detach().numpy() for name, value in net.named_parameters()}

    def constant(self, name: str, values: npt.ArrayLike, dtype: str = "float32") -> str:
        """Add a constant and give its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def weight(self, name: str) -> str:
        """Add a trained parameter; matrices are stored [in, out]."""
        values = self._net[name]
        return self.constant(name, values.T if values.ndim == 2 and "embed" not in name else values)

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node and give its output."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def norm(self, source: str, name: str) -> str:
        """Normalise [1, WIDTH]."""
        parts = [source, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.add("LayerNormalization", parts, f"{name}.result", axis=-1, epsilon=1e-5)

    def shifted(self, past: str, newest: str, present: str, axis: int) -> str:
        """Push the newest value in at the end and the oldest out at the front."""
        bounds = [f"{axis}.{part}" for part in ("start", "end", "axis")]
        kept = self.add("Slice", [past, *bounds], f"{present}.kept")
        return self.add("Concat", [kept, newest], present, axis=axis)

    def layer(self, number: int, x: str, bias: str) -> str:
        """Add one layer on [1, WIDTH] and give its output."""
        at = f"layers.{number}"
        qkv = self.add("MatMul", [self.norm(x, f"{at}.norm_a"), self.weight(f"{at}.qkv.weight")], f"{at}.qkv")
        parts = [f"{at}.{part}" for part in ("q", "k", "v")]
        self.nodes.append(helper.make_node("Split", [qkv, "parts"], parts, name=f"{at}.split", axis=1))
        q, k, v = (self.add("Reshape", [part, f"{part[-1]}.shape"], f"{part}.heads") for part in parts)
        keys = self.shifted(f"past_key_{number}", k, f"present_key_{number}", 1)
        values = self.shifted(f"past_value_{number}", v, f"present_value_{number}", 1)
        turned = f"{at}.turned"
        self.nodes.append(helper.make_node("Transpose", [keys], [turned], name=turned, perm=[0, 2, 1]))
        scores = self.add("MatMul", [q, turned], f"{at}.products")
        scores = self.add("Mul", [scores, "scale"], f"{at}.scaled")
        scores = self.add("Softmax", [self.add("Add", [scores, bias], f"{at}.scores")], f"{at}.shares", axis=-1)
        mixed = self.add("Reshape", [self.add("MatMul", [scores, values], f"{at}.heads"), "row"], f"{at}.mixed")
        x = self.add("Add", [x, self.add("MatMul", [mixed, self.weight(f"{at}.out.weight")], f"{at}.out")], f"{at}.x")
        h = self.norm(x, f"{at}.norm_b")
        gate = self.add("MatMul", [h, self.weight(f"{at}.gate.weight")], f"{at}.gate")
        gate = self.add("Mul", [gate, self.add("Sigmoid", [gate], f"{at}.open")], f"{at}.gated")
        up = self.add("MatMul", [h, self.weight(f"{at}.up.weight")], f"{at}.up")
        product = self.add("Mul", [gate, up], f"{at}.product")
        down = self.add("MatMul", [product, self.weight(f"{at}.down.weight")], f"{at}.down")
        return self.add("Add", [x, down], f"{at}.y")


def graph(net: Decoder, characters: int) -> onnx.ModelProto:
    """Write the decoder down as ONNX: ``token`` int64 [1] to ``logits`` [1, characters].

    What it remembers goes in as ``past_...`` and out as ``present_...``: keys and values of each layer
    [KEY_HEADS, WINDOW, HEAD], and ``held`` [WINDOW], 1 for each place that holds a character. Zeros are a beginning.
    """
    write = GraphWriter(net)
    for axis in (0, 1):
        for part, value in (("start", 1), ("end", WINDOW), ("axis", axis)):
            write.constant(f"{axis}.{part}", [value], "int64")
    keys = KEY_HEADS * HEAD
    write.constant("parts", [WIDTH, keys, keys], "int64")
    write.constant("q.shape", [KEY_HEADS, QUERIES, HEAD], "int64")
    write.constant("k.shape", [KEY_HEADS, 1, HEAD], "int64")
    write.constant("v.shape", [KEY_HEADS, 1, HEAD], "int64")
    write.constant("row", [1, WIDTH], "int64")
    write.constant("scale", HEAD**-0.5)
    distance = np.arange(WINDOW - 1, -1, -1)
    write.constant("distance_bias", -SLOPES[:, :, None] * distance)
    one, far = write.constant("one", [1.0]), write.constant("unseen", UNSEEN)
    held = write.shifted("past_held", one, "present_held", 0)
    unseen = write.add("Mul", [write.add("Sub", [held, one], "missing"), far], "unseen_bias")
    bias = write.add("Add", ["distance_bias", unseen], "bias")
    x = write.add("Gather", [write.weight("embed.weight"), "token"], "embedded", axis=0)
    for number in range(LAYERS):
        x = write.layer(number, x, bias)
    write.add("MatMul", [write.norm(x, "norm"), write.weight("head.weight")], "logits")
    memory = {f"{what}_{n}": [KEY_HEADS, WINDOW, HEAD] for n in range(LAYERS) for what in ("key", "value")}
    memory["held"] = [WINDOW]
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        write.nodes,
        "story",
        [
            info("token", TensorProto.INT64, [1]),
            *(info(f"past_{name}", TensorProto.FLOAT, shape) for name, shape in memory.items()),
        ],
        [
            info("logits", TensorProto.FLOAT, [1, characters]),
            *(info(f"present_{name}", TensorProto.FLOAT, shape) for name, shape in memory.items()),
        ],
        write.constants,
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="flightnode"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main(directory: Path) -> None:
    """Write ``story_f32.onnx`` and ``story_test.npz`` into a directory."""
    whole = text()
    characters = sorted(set(whole))
    tokens = np.array([characters.index(character) for character in whole], np.int64)
    split = len(tokens) * 19 // 20
    net = train(tokens[:split], len(characters))
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    print(f"held out: {held_out_loss(net, tokens[split:]):.3f} nats")
    (directory / "story_f32.onnx").write_bytes(graph(net, len(characters)).SerializeToString())
    test = tokens[split : split + TEST_CHARACTERS + 1]
    np.savez_compressed(
        directory / "story_test.npz",
        token=test[:-1, None],
        labels=test[1:],
        characters=np.frombuffer("".join(characters).encode("ascii"), np.uint8),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
