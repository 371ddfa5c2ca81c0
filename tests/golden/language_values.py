"""What PyTorch's recurrent networks and Transformer, transformers' GPTs and BERT put out for weights that are made by
rule: tests/golden/language.json. And what two networks that others have trained say: tests/golden/trained.json.

Runs in an environment of its own, with neither kzoo nor Keras:

    python -m venv golden && golden/bin/pip install torch==2.13.0 transformers==5.24.0 numpy
    golden/bin/python tests/golden/language_values.py
    golden/bin/python tests/golden/language_values.py FOLDER     # what transformers says of a folder that kzoo wrote
    golden/bin/pip install nltk inflect && golden/bin/pip install --no-deps g2p-en==2.1.0 Resemblyzer==0.1.4
    golden/bin/python tests/golden/language_values.py --trained

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
SOURCE = np.array([[4, 19, 22, 33, 8, 2, 3], [17, 3, 30, 1, 6, 0, 0]])  # of translators, whose target is IDS
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


def translator(cell):
    """As kzoo's seq2seq with reverse=False."""
    import torch

    class Side(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
            kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
            setattr(self, cell, kind(WIDTH, UNITS, num_layers=2, batch_first=True))

        def forward(self, ids, lengths=None, states=None):
            x = self.embedding(ids)
            if lengths is not None:
                pack = torch.nn.utils.rnn.pack_padded_sequence
                x = pack(x, lengths, batch_first=True, enforce_sorted=False)
            return getattr(self, cell)(x, states)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = Side(), Side()
            self.output = torch.nn.Linear(UNITS, VOCABULARY)

        def forward(self, source, target):
            _, states = self.encoder(source, (source != PADDING).sum(dim=1))
            return self.output(self.decoder(target, states=states)[0])

    return Network()


def transformer():
    """As kzoo's transformer: scaled embeddings plus sinusoids in front, and the embedding for the logits."""
    import torch

    d_model = 8

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(VOCABULARY, d_model)
            self.transformer = torch.nn.Transformer(
                d_model, 2, num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=12, batch_first=True,
                layer_norm_eps=1e-6,
            )  # fmt: skip

        def embed(self, ids):
            place, k = torch.arange(ids.shape[1])[:, None], torch.arange(0, d_model, 2)
            angle = place / 10_000 ** (k / d_model)
            return self.embedding(ids) * d_model**0.5 + torch.stack([angle.sin(), angle.cos()], -1).flatten(1)

        def forward(self, source, target):
            y = self.transformer(
                self.embed(source), self.embed(target), src_key_padding_mask=source == PADDING,
                memory_key_padding_mask=source == PADDING,
                tgt_mask=torch.ones(target.shape[1], target.shape[1], dtype=bool).triu(1),
            )  # fmt: skip
            return y @ self.embedding.weight.T

    return Network()


def gpt(kind):
    import transformers

    sizes = {"vocab_size": VOCABULARY, "n_positions": 12, "n_embd": 8, "n_layer": 2, "n_head": 2}
    if kind == "gpt2":
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    return transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**sizes))


def bert(kind="BertForSequenceClassification"):
    import transformers

    return getattr(transformers, kind)(
        transformers.BertConfig(
            vocab_size=VOCABULARY, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=12, num_labels=3,
        )
    )  # fmt: skip


NETWORKS = {
    **{f"{cell}, classifier": lambda cell=cell: recurrent(cell, True) for cell in ("rnn", "lstm", "gru")},
    **{f"{cell}, language model": lambda cell=cell: recurrent(cell, False) for cell in ("rnn", "lstm", "gru")},
    **{f"{cell}, translator": lambda cell=cell: translator(cell) for cell in ("lstm", "gru")},
    "transformer": transformer,
    "gpt2": lambda: gpt("gpt2"),
    "openai-gpt": lambda: gpt("openai-gpt"),
    "bert": bert,
    "bert, pre-training": lambda: bert("BertForPreTraining"),
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
    if hasattr(network, "transformer") and hasattr(network, "embed") or hasattr(network, "decoder"):
        given = {"source": torch.from_numpy(SOURCE), "target": torch.from_numpy(IDS)}
    with torch.inference_mode():
        found = network.eval()(**given) if len(given) > 1 else network.eval()(*given.values())
    if hasattr(found, "prediction_logits"):  # and behind them, of each text, whether its second segment follows
        both = found.prediction_logits.numpy(), found.seq_relationship_logits.numpy()[:, None]
        return np.concatenate([both[0], np.pad(both[1], [(0, 0), (0, 0), (0, VOCABULARY - 2)])], axis=1)
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
        if "cls.predictions.decoder.weight" in given:
            given["cls.predictions.decoder.weight"] = given["bert.embeddings.word_embeddings.weight"]
            given["cls.predictions.decoder.bias"] = given["cls.predictions.bias"]
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


WORDS = (
    "activationist affordable aardwolf bamboozled blockchain brexit cryptid covfefe defenestrate doomscrolling eggcorn"
    " emoji facepalm flabbergast flummoxed gobbledygook googleable hangry hashtag isogram jeggings juxtapose keras kzoo"
    " kerfuffle listicle lollygag mansplain metaverse mockumentary nincompoop nomophobia overthink photobomb podcaster"
    " quokka quinoa ransomware rigmarole selfie skedaddle snowmageddon staycation tensorflow thingamajig twitterati"
    " unfriend unobtainium vlogger webinar whatchamacallit xenon xylograph yottabyte yuppie zeitgeist zigzagged zoodle"
    " a i pterodactyl rhythm strengths thoroughly tsktsk it's queueing mississippi antidisestablishmentarian"
)
FRAMES = (160, 40)  # of Resemblyzer: a partial utterance of 1.6 s, and the channels of its mel spectrogram


def frames():
    """Of a voice that nobody has: energies of mel channels are small and not negative."""
    return np.abs(tensor("mel frames", FRAMES)).astype("float32")


def trained():
    """The phonemes that g2p-en says of WORDS, and Resemblyzer's embedding of `frames`."""
    from importlib.metadata import distribution

    import g2p_en.g2p
    import torch

    g2p_en.g2p.cmudict.dict = dict  # its predictions alone are asked for, not the dictionary's
    speaks = g2p_en.g2p.G2p()
    phonemes = {word: " ".join(speaks.predict(word)) for word in WORDS.split()}
    # VoiceEncoder of resemblyzer/voice_encoder.py, whose module imports a library of sound.
    path = distribution("Resemblyzer").locate_file("resemblyzer/pretrained.pt")
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    lstm, linear = torch.nn.LSTM(40, 256, 3, batch_first=True), torch.nn.Linear(256, 256)
    for name, layer in (("lstm", lstm), ("linear", linear)):
        layer.load_state_dict({k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")})
    with torch.inference_mode():
        _, (hidden, _) = lstm(torch.from_numpy(frames())[None])
        raw = linear(hidden[-1]).relu()
        embedding = (raw / raw.norm(dim=1, keepdim=True))[0].numpy()
    versions = {name: distribution(name).version for name in ("g2p-en", "Resemblyzer")} | {"torch": torch.__version__}
    found = {"made with": versions, "phonemes": phonemes, "phoneme table": speaks.phonemes,
             "grapheme table": speaks.graphemes, "embedding": [float(f"{v:.7g}") for v in embedding]}  # fmt: skip
    file = FILE.with_name("trained.json")
    file.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    print(f"wrote {file}: {len(phonemes)} words, {np.count_nonzero(embedding)} numbers that are not 0")


def check(folder):
    """transformers reads what kzoo wrote, and says how far it is from the logits that kzoo noted beside it."""
    import transformers

    kind = json.loads((Path(folder) / "config.json").read_text())["architectures"][0]
    network = getattr(transformers, kind).from_pretrained(folder)
    expected = np.load(Path(folder) / "logits.npy")
    print(f"{type(network).__name__}: {np.abs(said(network) - expected).max():.2g} from kzoo's logits")


if __name__ == "__main__":
    trained() if sys.argv[1:] == ["--trained"] else check(sys.argv[1]) if len(sys.argv) > 1 else main()
