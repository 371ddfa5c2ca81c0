"""What PyTorch's recurrent networks and transformers' GPTs and BERT put out for weights that are made by rule:
tests/golden/language.json.

Runs in an environment of its own, with neither kzoo nor Keras:

    python -m venv golden && golden/bin/pip install torch==2.13.0 transformers==5.24.0 numpy
    golden/bin/python tests/golden/language_values.py
    golden/bin/python tests/golden/language_values.py FOLDER     # what transformers says of a folder that kzoo wrote

`tensor` of torchvision_values.py is the rule. The tests (tests/weights/test_foreign.py) follow it without PyTorch.
"""

import json
import runpy
import sys
from pathlib import Path

import numpy as np

tensor = runpy.run_path(str(Path(__file__).with_name("torchvision_values.py")))["tensor"]
FILE = Path(__file__).with_name("language.json")
IDS = np.array([[5, 9, 2, 33, 8, 21, 40], [7, 3, 3, 11, 30, 2, 6]])
VOCABULARY, WIDTH, UNITS = 41, 6, 5
PADDING, SEPARATOR = 0, 3  # of BERT, whose second row has a second text, and the third one padding
BERT_IDS = np.array([[2, 9, 12, 33, 8, 21, 3], [2, 7, 3, 11, 30, 6, 3], [2, 14, 5, 3, 0, 0, 0]])


def recurrent(cell, bidirectional):
    """As kzoo's classifiers, or language models, of two layers."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
            self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
            setattr(self, cell, kind(WIDTH, UNITS, num_layers=2, batch_first=True, bidirectional=bidirectional))
            self.output = torch.nn.Linear(2 * UNITS, 3) if bidirectional else torch.nn.Linear(UNITS, VOCABULARY)

        def forward(self, ids):
            states, _ = getattr(self, cell)(self.embedding(ids))
            return self.output(states.max(dim=1).values).softmax(-1) if bidirectional else self.output(states)

    return Network()


def gpt(kind):
    import transformers

    sizes = {"vocab_size": VOCABULARY, "n_positions": 12, "n_embd": 8, "n_layer": 2, "n_head": 2}
    if kind == "gpt2":
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    return transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**sizes))


def bert():
    import transformers

    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=VOCABULARY, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=12, num_labels=3,
        )
    )  # fmt: skip


NETWORKS = {
    **{f"{cell}, classifier": lambda cell=cell: recurrent(cell, True) for cell in ("rnn", "lstm", "gru")},
    **{f"{cell}, language model": lambda cell=cell: recurrent(cell, False) for cell in ("rnn", "lstm", "gru")},
    "gpt2": lambda: gpt("gpt2"),
    "openai-gpt": lambda: gpt("openai-gpt"),
    "bert": bert,
}


def said(network):
    import torch

    given = {"input_ids": torch.from_numpy(IDS)}
    if "Bert" in type(network).__name__:
        ends = (BERT_IDS == SEPARATOR).astype("int64")
        given = {
            "input_ids": BERT_IDS, "token_type_ids": (ends.cumsum(axis=1) - ends > 0).astype("int64"),
            "attention_mask": (BERT_IDS != PADDING).astype("int64"),
        }  # fmt: skip
        given = {name: torch.from_numpy(value) for name, value in given.items()}
    with torch.inference_mode():
        found = network.eval()(**given) if len(given) > 1 else network.eval()(*given.values())
    return (found if isinstance(found, torch.Tensor) else found.logits).numpy()


def main():
    import torch
    import transformers

    rows = {}
    for name, make in NETWORKS.items():
        network = make()
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        given = {key: torch.from_numpy(tensor(key, shape)) for key, shape in shapes.items()}
        if "lm_head.weight" in given:  # one matrix under two names
            given["lm_head.weight"] = given[next(key for key in given if key.endswith(("wte.weight", "embed.weight")))]
        network.load_state_dict(given)
        logits = said(network)
        rows[name] = {
            "logits": [[float(f"{v:.7g}") for v in row] for row in logits.reshape(-1, logits.shape[-1])],
            "state_dict": {key: list(shape) for key, shape in shapes.items()},
        }
        print(f"{name}: {len(shapes)} tensors, largest {np.abs(logits).max():.4g}, std {logits.std():.3g}")
    lines = [f' "{name}": {json.dumps(row)}' for name, row in rows.items()]
    versions = json.dumps({"torch": torch.__version__, "transformers": transformers.__version__})
    FILE.write_text(f'{{\n "made with": {versions},\n' + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"wrote {FILE}, {FILE.stat().st_size / 1e3:.0f} kB")


def check(folder):
    """transformers reads what kzoo wrote, and says how far it is from the logits that kzoo noted beside it."""
    import transformers

    kind = json.loads((Path(folder) / "config.json").read_text())["architectures"][0]
    network = getattr(transformers, kind).from_pretrained(folder)
    expected = np.load(Path(folder) / "logits.npy")
    print(f"{type(network).__name__}: {np.abs(said(network) - expected).max():.2g} from kzoo's logits")


if __name__ == "__main__":
    check(sys.argv[1]) if len(sys.argv) > 1 else main()
