"""PyTorch's recurrent networks, transformers' GPT and BERT: outputs against values they gave, and their names again."""

import json
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy
from file_server import File

import kzoo
from kzoo.inputs.bytepairs import letters_of_bytes
from kzoo.records import STYLES

GOLDEN = Path(__file__).parents[1] / "golden"
RULE = runpy.run_path(str(GOLDEN / "language_values.py"))
VALUES = json.loads((GOLDEN / "language.json").read_text(encoding="utf-8"))
VALUES.pop("made with")
SIZES = {"vocabulary": RULE["VOCABULARY"], "width": RULE["WIDTH"], "units": RULE["UNITS"], "stack": 2}
SIDES = {"source_vocabulary": RULE["VOCABULARY"], "target_vocabulary": RULE["VOCABULARY"], "stack": 2}
GPT = {"vocabulary": RULE["VOCABULARY"], "stack": 2, "d_model": 8, "heads": 2, "d_ff": 32, "length": 12}
OURS = {
    **{f"{c}, classifier": (f"{c}_classifier_tiny", {**SIZES, "bidirectional": True, "summary": "max", "classes": 3})
       for c in ("rnn", "lstm", "gru")},
    **{f"{c}, language model": ("lstm_language_model_tiny", {**SIZES, "cell": c}) for c in ("rnn", "lstm", "gru")},
    **{f"{c}, translator": ("seq2seq_tiny", {**SIDES, "width": RULE["WIDTH"], "units": RULE["UNITS"], "cell": c,
       "reverse": False}) for c in ("lstm", "gru")},
    "transformer": ("transformer_tiny", {**SIDES, "d_model": 8, "heads": 2, "d_ff": 12, "attention_bias": True,
                                         "final_norm": True}),
    "gpt2": ("gpt_tiny", GPT),
    "openai-gpt": ("gpt_tiny", {**GPT, "norm": "post"}),
    "bert, pre-training": ("bert_pretraining_test", {**GPT, "separator": RULE["SEPARATOR"]}),
    "bert": ("bert_test", {**GPT, "separator": RULE["SEPARATOR"], "classes": 3, "classifier_activation": None}),
}  # fmt: skip


def given(name):
    """What the network is shown."""
    if name == "transformer" or "translator" in name:
        return {"source": RULE["SOURCE"], "target": RULE["IDS"]}
    return RULE["BERT_IDS" if "bert" in name else "IDS"]


def theirs(name):
    made = {key: RULE["tensor"](key, tuple(shape)) for key, shape in VALUES[name]["state_dict"].items()}
    if "lm_head.weight" in made:
        made["lm_head.weight"] = next(v for k, v in made.items() if k.endswith(("wte.weight", "embed.weight")))
    if "cls.predictions.decoder.weight" in made:
        made["cls.predictions.decoder.weight"] = made["bert.embeddings.word_embeddings.weight"].copy()
        made["cls.predictions.decoder.bias"] = made["cls.predictions.bias"].copy()
    return made


def ours(name, style="functional", **changes):
    variant, arguments = OURS[name]
    return kzoo.create_model(variant, style=style, **{**arguments, **changes})


def loaded(name, path, style="functional"):
    safetensors.numpy.save_file(theirs(name), path, metadata={"format": "pt"})
    model = ours(name, style)
    kzoo.load_weights(model, path)
    return model


@pytest.mark.parametrize("name", VALUES)
def test_outputs_are_theirs(name, tmp_path):
    style = STYLES[list(VALUES).index(name) % 3]
    found = loaded(name, tmp_path / "model.safetensors", style)(given(name))
    if isinstance(found, dict):  # the second output stands behind the first, as the script has it
        tokens, follows = np.asarray(found["tokens"]), np.asarray(found["next"])[:, None]
        width = tokens.shape[-1] - follows.shape[-1]
        found = np.concatenate([tokens, np.pad(follows, [(0, 0), (0, 0), (0, width)])], axis=1)
    found = np.asarray(found)
    np.testing.assert_allclose(found.reshape(-1, found.shape[-1]), VALUES[name]["logits"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", VALUES)
def test_their_names_again(name, tmp_path):
    model = loaded(name, tmp_path / "model.safetensors")
    lineage = "transformers" if "gpt" in name or "bert" in name else "torch"
    path = tmp_path / ("folder" if lineage == "transformers" else "again.safetensors")
    assert kzoo.save_weights(model, path, names=lineage) == path
    file = path / "model.safetensors" if path.is_dir() else path
    again, expected = safetensors.numpy.load_file(file), theirs(name)
    for tied in ("lm_head.weight", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"):
        expected.pop(tied, None)  # the embedding's, which transformers ties
    assert again.keys() == expected.keys()
    for key, value in expected.items():
        if "gru" not in name and "bias_ih" in key:  # Keras has one bias, their sum
            value = value + expected[key.replace("bias_ih", "bias_hh")]
        if "gru" not in name and "bias_hh" in key:
            value = np.zeros_like(value)
        np.testing.assert_array_equal(again[key], value, err_msg=key)
    if lineage == "transformers":
        config = json.loads((path / "config.json").read_text())
        layers = config["num_hidden_layers" if "bert" in name else "n_layer"]
        assert config["model_type"] == name.partition(",")[0] and layers == 2 and config["vocab_size"] == 41
    other = ours(name)
    kzoo.load_weights(other, file)
    for mine, its in zip(*(keras.tree.flatten(m(given(name))) for m in (other, model)), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_matrices_that_cannot_be_cut_are_named(tmp_path):
    for name, key in (("gpt2", "transformer.h.0.attn.c_attn.weight"), ("gru, classifier", "gru.bias_hh_l0")):
        tensors = theirs(name)
        tensors[key] = tensors[key][..., :-1].copy()
        safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(kzoo.KzooError, match=key.removeprefix("transformer.")):
            kzoo.load_weights(ours(name), tmp_path / "model.safetensors")
    with pytest.raises(kzoo.KzooError, match="no folder .* make it first"):
        kzoo.save_weights(ours("gru, classifier"), tmp_path / "none" / "a.safetensors", names="torch")


def test_what_does_not_fit_is_said(tmp_path):
    path = tmp_path / "model.safetensors"
    loaded("gpt2", path)
    before = kzoo.gpt_tiny()
    with pytest.raises(kzoo.KzooError, match="does not fit the model 'gpt_tiny'.*GPT-2 is gpt2_small here"):
        kzoo.load_weights(before, path)
    with pytest.raises(kzoo.KzooError, match="unknown names 'torch'.*'gpt_tiny' has kzoo and transformers"):
        kzoo.save_weights(before, tmp_path / "a.safetensors", names="torch")
    with pytest.raises(kzoo.KzooError, match="'lenet5' has kzoo"):
        kzoo.save_weights(kzoo.lenet5(), tmp_path / "a.safetensors", names="torch")
    with pytest.raises(kzoo.KzooError, match="make a folder, with a config.json"):
        kzoo.save_weights(before, tmp_path / "a.safetensors", names="transformers")
    with pytest.raises(kzoo.KzooError, match="learned positions; positions='rotary' has no file there"):
        kzoo.save_weights(kzoo.gpt_tiny(positions="rotary"), tmp_path / "folder", names="transformers")
    assert not (tmp_path / "folder").exists() and not (tmp_path / "a.safetensors").exists()


def test_a_config_of_another_network_is_said(tmp_path):
    """Weights of the same shapes: heads, activation, epsilon stand in config.json alone."""
    for name, changes in (
        ("gpt2_test", {"n_head": 1, "activation_function": "relu", "layer_norm_epsilon": 0.1, "model_type": "bert"}),
        ("bert_test", {"num_attention_heads": 1, "hidden_act": "relu"}),
    ):
        folder = kzoo.save_weights(kzoo.create_model(name), tmp_path / name, names="transformers")
        said = json.loads((folder / "config.json").read_text())
        kzoo.create_model(name, weights=str(folder))
        for key, value in changes.items():
            (folder / "config.json").write_text(json.dumps({**said, key: value}))
            with pytest.raises(kzoo.KzooError, match=f"config.json' says {key}={value!r}, and {name} has "):
                kzoo.create_model(name, weights=str(folder))
        (folder / "config.json").write_text("{")
        with pytest.raises(kzoo.KzooError, match="is no config.json of transformers"):
            kzoo.create_model(name, weights=str(folder))
        alike = {"activation_function": "gelu_pytorch_tanh"} if name == "gpt2_test" else {}
        (folder / "config.json").write_text(json.dumps({**said, **alike, "n_inner": None, "unheard": 1}))
        kzoo.create_model(name, weights=str(folder))


@pytest.mark.slow
def test_a_translator_in_pytorchs_names_knows_its_words(tmp_path):
    texts = np.array(["one two three", "two one", "three three one"] * 4, object)
    run = kzoo.fit(
        "seq2seq_tiny", kzoo.Data((texts, texts)), epochs=1, xla="off", verbose=False, run_dir=tmp_path / "r"
    )
    path = kzoo.save_weights(run.model, tmp_path / "a.safetensors", names="torch")
    settings = kzoo.models.model_info(run.model).settings
    sizes = {key: settings[key] for key in ("source_vocabulary", "target_vocabulary")}
    again = kzoo.seq2seq_tiny(**sizes, weights=str(path))
    assert kzoo.generate(again, ["two one"])[0].text == kzoo.generate(run, ["two one"])[0].text
    with pytest.raises(kzoo.KzooError, match="tokens; build the model with a vocabulary of as many"):
        kzoo.seq2seq_tiny(source_vocabulary=4, target_vocabulary=sizes["target_vocabulary"], weights=str(path))


def test_the_first_files_of_bert_have_older_names(tmp_path):
    """bert-base-uncased still has them: https://github.com/huggingface/transformers/issues/11809."""
    name = "bert, pre-training"
    new = theirs(name)
    endings = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {next((k.removesuffix(e) + o for e, o in endings.items() if k.endswith(e)), k): v for k, v in new.items()}
    assert sum("gamma" in key for key in old) == 6
    for number, tensors in enumerate((new, old)):
        safetensors.numpy.save_file(tensors, tmp_path / f"{number}.safetensors", metadata={"format": "pt"})
    one, other = (ours(name, weights=str(tmp_path / f"{k}.safetensors")) for k in range(2))
    for key, variable in kzoo.weights_by_name(one).items():
        np.testing.assert_array_equal(variable, kzoo.weights_by_name(other)[key])


@pytest.mark.parametrize("name", ["bert_test", "gpt2_test"])
def test_hugging_face_gives_vocabulary_and_sizes_too(cache, server, monkeypatch, capsys, tmp_path, name):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    folder = kzoo.save_weights(kzoo.create_model(name), tmp_path / "saved", names="transformers")
    if name == "bert_test":
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film"]
        vocabulary = {"vocab.txt": "\n".join(pieces)}
    else:
        pieces = [*letters_of_bytes().values(), "ab"]
        vocabulary = {"vocab.json": json.dumps({c: k for k, c in enumerate(pieces)}), "merges.txt": "a b\n"}
    for file, text in vocabulary.items():
        (folder / file).write_text(text, encoding="utf-8")
    for file in folder.iterdir():
        server.files[f"/me/net/resolve/main/{file.name}"] = File(file.read_bytes())
        if file.name not in vocabulary:
            server.files[f"/me/bare/resolve/main/{file.name}"] = File(file.read_bytes())
    here, there = (kzoo.create_model(name, weights=weights) for weights in (str(folder), "hf://me/net"))
    known = kzoo.models.model_info(there).inputs
    assert known == kzoo.models.model_info(here).inputs and known.known
    assert "images" not in capsys.readouterr().err
    asked = len(server.asked)
    kzoo.create_model(name, weights="hf://me/net")
    assert len(server.asked) == asked, "all lies in the cache"
    assert not kzoo.models.model_info(kzoo.create_model(name, weights="hf://me/bare")).inputs.known
    assert "what its ids mean is not known: " in capsys.readouterr().err
    said = json.loads((folder / "config.json").read_text())
    key = "num_attention_heads" if name == "bert_test" else "n_head"
    for file in folder.iterdir():
        server.files[f"/me/other/resolve/main/{file.name}"] = File(file.read_bytes())
    server.files["/me/other/resolve/main/config.json"] = File(json.dumps({**said, key: 1}).encode())
    with pytest.raises(kzoo.KzooError, match=f"says {key}=1, and {name} has 2"):
        kzoo.create_model(name, weights="hf://me/other")


def test_vocabularies_that_do_not_fit_are_said(tmp_path):
    folder = kzoo.save_weights(kzoo.bert_test(), tmp_path / "bert", names="transformers")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    for text, line in (
        ("\n".join([*pieces, *(f"w{k}" for k in range(60))]), "its vocabulary has 65 entries, and bert_test was built"),
        ("\n".join(["[PAD]", "x", *pieces[1:]]), "its vocabulary needs separator=4, and bert_test was built with sep"),
    ):
        (folder / "vocab.txt").write_text(text + "\n")
        with pytest.raises(kzoo.KzooError, match=line):
            kzoo.bert_test(weights=str(folder))
    (folder / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(kzoo.KzooError, match="vocab.txt in .* is no UTF-8"):
        kzoo.bert_test(weights=str(folder))
    folder = kzoo.save_weights(kzoo.gpt2_test(), tmp_path / "gpt2", names="transformers")
    (folder / "vocab.json").write_text("{}")
    with pytest.raises(kzoo.KzooError, match="has vocab.json and no merges.txt"):
        kzoo.gpt2_test(weights=str(folder))
    with pytest.raises(kzoo.KzooError, match="save_weights takes a Keras model; received None"):
        kzoo.save_weights(None, tmp_path / "a.safetensors")
