"""Every model of the registry in every style: a new variant is tested by existing."""

import functools
import gc
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from crosses import in_turn
from PIL import Image

import kzoo
from kzoo.models import Definition, Networks, model_info, networks_of
from kzoo.records import STYLES
from kzoo.runs import load
from kzoo.tasks import find_task
from kzoo.zoo import index, model_spec

MODELS = kzoo.list_models(hidden=True)
TINY = {index()[name]["family"] for name in MODELS if index()[name]["hidden"]}
# The whole contract runs on the hidden rows of the families that have one, and on every row of those that have none.
FULL = [name for name in MODELS if index()[name]["hidden"] or index()[name]["family"] not in TINY]


def transformer_layers(d, d_ff):
    """One layer of the encoder and one of the decoder: projections without biases, feed-forward, norms."""
    feed_forward = 2 * d * d_ff + d_ff + d
    return (4 * d * d + feed_forward + 2 * 2 * d) + (8 * d * d + feed_forward + 3 * 2 * d)


def bert(vocabulary, length, stack, d, d_ff, classes=2):
    """Embeddings and their norm, layers with biases, the pooler, the classes."""
    layer = 4 * (d + 1) * d + (d + 1) * d_ff + (d_ff + 1) * d + 4 * d
    return (vocabulary + length + 2) * d + 2 * d + stack * layer + (d + 1) * d + (d + 1) * classes


def pretraining(vocabulary, d):
    """What BERT's heads of pre-training have beyond a classifier of two classes."""
    return (d + 1) * d + 2 * d + vocabulary


# Parameters as papers, courses or the arithmetic in the family's file give them.
PARAMETERS = {
    "perceptron": 3,
    "mlp": 101_770,
    "mlp_16_16": 13_002,
    "mlp_16_16_16": 833,
    "mlp_xor": 9,
    "mlp_table": 9 * 128 + 129 * 128 + 129 * 2,
    "mlp_regressor": 9 * 64 + 65 * 64 + 65,
    "lenet5": 61_706,
    "lenet5_1998": 60_000,
    # torchvision's and keras.applications' counts; moving averages of batch norm are counted, as Keras does
    "alexnet": 60_965_224,
    "alexnet_one_tower": 61_100_840,
    "zfnet": 62_357_608,
    "alexnet_tiny": 121 * 3 * 6 + 6 + 25 * 3 * 16 + 16 + 9 * (16 * 24 + 12 * 24 + 12 * 16) + 64 + 17 * 32 + 170,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840 + 2 * 2752,
    "vgg13_bn": 133_053_736 + 2 * 2944,
    "vgg16_bn": 138_365_992 + 2 * 4224,
    "vgg19_bn": 143_678_248 + 2 * 5504,
    "vgg_tiny": 112 + 296 + 584 + 512 * 16 + 16 + 17 * 16 + 170,
    "vgg_bn_tiny": 112 + 296 + 584 + 4 * 20 + 512 * 16 + 16 + 17 * 16 + 170,
    "googlenet": 6_998_552,
    "googlenet_bn": 6_624_904 + 2 * 7280,
    "googlenet_tiny": 25_095,
    "googlenet_bn_tiny": 24_911,
    "inception_v3": 23_851_784,
    "inception_tiny": 23_593,
    "resnet18": 11_689_512 + 2 * 4800,
    "resnet34": 21_797_672 + 2 * 8512,
    "resnet50": 25_636_712,
    "resnet50_v1_5": 25_557_032 + 2 * 26_560,
    "resnet101": 44_707_176,
    "resnet152": 60_419_944,
    "resnet50_v2": 25_613_800,
    "resnet101_v2": 44_675_560,
    "resnet152_v2": 60_380_648,
    # 6n + 2 layers; two moving averages for each of the 16, 32, 64 filters of 2n convolutions, and the first one's
    "resnet20": 269_722 + 2 * (112 * 2 * 3 + 16),
    "resnet32": 464_154 + 2 * (112 * 2 * 5 + 16),
    "resnet44": 658_586 + 2 * (112 * 2 * 7 + 16),
    "resnet56": 853_018 + 2 * (112 * 2 * 9 + 16),
    "resnet110": 1_727_962 + 2 * (112 * 2 * 18 + 16),
    "resnet1202": 19_421_274 + 2 * (112 * 2 * 200 + 16),
    "resnet_tiny": 4_454,
    "resnet_v2_tiny": 4_778,
    "resnet_cifar_tiny": 2_678,
    "lstm_classifier": 20_000 * 128 + 2 * 4 * (128 + 64 + 1) * 64 + 129 * 2,
    "lstm_classifier_tiny": 50 * 8 + 2 * 4 * (8 + 6 + 1) * 6 + 13 * 2,
    "rnn_classifier": 20_000 * 128 + 2 * (128 + 64 + 1) * 64 + 129 * 2,
    "gru_classifier": 20_000 * 128 + 2 * 3 * (128 + 64 + 2) * 64 + 129 * 2,  # the biases of Keras and cuDNN: two
    "rnn_classifier_tiny": 50 * 8 + (8 + 6 + 1) * 6 + 7 * 2,
    "gru_classifier_tiny": 50 * 8 + 2 * 3 * (8 + 6 + 2) * 6 + 2 * 3 * (12 + 6 + 2) * 6 + 13 * 2,
    "rnn_language_model": 100 * 64 + (64 + 257 + 256 + 257) * 256 + 257 * 100,
    "lstm_language_model": 100 * 64 + 4 * (64 + 257 + 256 + 257) * 256 + 257 * 100,
    "gru_language_model": 100 * 64 + 3 * (64 + 258 + 256 + 258) * 256 + 257 * 100,
    "lstm_language_model_tiny": 70 * 8 + 4 * (8 + 7 + 6 + 7) * 6 + 7 * 70,
    "rnn_forecaster": (1 + 64 + 1) * 64 + 65,
    "lstm_forecaster": 4 * (1 + 64 + 1) * 64 + 65,
    "gru_forecaster": 3 * (1 + 64 + 2) * 64 + 65,
    "lstm_forecaster_tiny": 4 * (1 + 6 + 1) * 6 + 7 * 2,
    "gru_forecaster_tiny": 2 * 3 * (1 + 4 + 2) * 4 + 2 * 3 * (8 + 4 + 2) * 4 + 9,
    "word2vec": 2 * 20_000 * 100,
    "word2vec_tiny": 2 * 60 * 8,
    "textcnn": 20_000 * 300 + (3 + 4 + 5) * 300 * 100 + 300 + 301 * 2,
    "textcnn_tiny": 50 * 8 + (2 + 3) * 8 * 5 + 10 + 11 * 2,
    # embeddings, both directions of the encoder, decoder, W_a, W_c, W_s
    "seq2seq_luong": 2 * 10_000 * 256 + 8 * (256 + 129) * 128 + 4 * 513 * 256 + 256**2 + 512 * 256 + 256 * 10_000,
    "seq2seq_luong_tiny": 70 * 6 + 8 * (6 + 5) * 4 + 4 * (6 + 9) * 8 + 8 * 8 + 16 * 8 + 8 * 30,
    # embeddings, both stacks, output
    "seq2seq": 2 * 10_000 * 256 + 2 * 4 * (256 + 513 + 512 + 513) * 512 + 513 * 10_000,
    "seq2seq_tiny": 70 * 6 + 2 * 4 * (6 + 9 + 8 + 9) * 8 + 9 * 30,
    # embeddings, encoder, W_s and U_a, W_a and v, the decoder's GRU, readout, W_o
    "seq2seq_bahdanau": 2 * 10_000 * 256
    + 6 * (256 + 258) * 256
    + 3 * 256**2
    + 256**2
    + 256
    + 3 * (768 + 258) * 256
    + 1025 * 256
    + 129 * 10_000,
    "seq2seq_bahdanau_tiny": 70 * 6 + 6 * (6 + 6) * 4 + 3 * 16 + 16 + 4 + 3 * (14 + 6) * 4 + 19 * 10 + 6 * 30,
    "transformer": 16_000 * 512 + 6 * transformer_layers(512, 2048),
    "transformer_big": 16_000 * 1024 + 6 * transformer_layers(1024, 4096),
    "transformer_small": 12_000 * 128 + 3 * transformer_layers(128, 512),
    "transformer_tiny": 40 * 8 + 2 * transformer_layers(8, 12),
    # embedding and positions; of each layer attention, feed-forward and two norms; the last norm
    "gpt_small": (100 + 256) * 192 + 4 * (4 * 193 * 192 + 2 * 192 * 768 + 768 + 192 + 4 * 192) + 2 * 192,
    "gpt_tiny": (70 + 32) * 16 + 2 * (4 * 17 * 16 + 2 * 16 * 32 + 32 + 16 + 4 * 16) + 2 * 16,
    "gpt2_small": 124_439_808,  # transformers' GPT2Model("gpt2"), whose output is its embedding
    "gpt2_test": (300 + 32) * 16 + 2 * (4 * 17 * 16 + 2 * 16 * 32 + 32 + 16 + 4 * 16) + 2 * 16,
    "bert_base": 109_482_240 + 769 * 2,  # transformers' BertModel("bert-base-uncased"), and the classes
    "bert_small": bert(30_522, 512, 4, 512, 2048),
    "bert_mini": bert(30_522, 512, 4, 256, 1024),
    "bert_tiny": bert(30_522, 512, 2, 128, 512),
    "bert_test": bert(60, 30, 2, 8, 12),
    "bert_base_pretraining": 110_106_428,  # transformers' BertForPreTraining("bert-base-uncased")
    "bert_small_pretraining": bert(30_522, 512, 4, 512, 2048) + pretraining(30_522, 512),
    "bert_mini_pretraining": bert(30_522, 512, 4, 256, 1024) + pretraining(30_522, 256),
    "bert_tiny_pretraining": bert(30_522, 512, 2, 128, 512) + pretraining(30_522, 128),
    "bert_pretraining_test": bert(60, 30, 2, 8, 12) + pretraining(60, 8),
    # project, normalization, strided convolutions, image; convolutions, normalization, logit
    "dcgan": 100 * 49 * 64 + 256 + 25 * 64 * 32 + 128 + 801 + 832 + 25 * 32 * 64 + 256 + 3137,
    "dcgan_32": 100 * 2048
    + 512
    + 25 * (128 * 64 + 64 * 32 + 32 * 3)
    + 256
    + 128
    + 3
    + 25 * (3 * 32 + 32 * 64 + 64 * 128)
    + 32
    + 256
    + 512
    + 2049,
    "dcgan_tiny": 1024 + 32 + 800 + 16 + 101 + 104 + 800 + 32 + 129,
}


def whole(outputs):
    """The output; of several all their numbers one behind the other."""
    if tf.is_tensor(outputs):
        return outputs.numpy()
    return np.concatenate([np.ravel(part) for part in keras.tree.flatten(outputs)])


def test_every_model_has_its_published_count():
    """Of index.json, which test_architecture.py holds true; the tiny rows are built below."""
    assert {name: row["parameters"] for name, row in index().items()} == PARAMETERS


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name not in FULL])
def test_larger_rows_have_their_count_and_equal_outputs(name, seeded, inputs_for):
    def outputs(style):
        gc.collect()  # the model before this one, first: VGG-19 takes 575 MB
        model = seeded(name, style)
        assert model.count_params() == PARAMETERS[name]
        return whole(model(inputs_for(model, count=1)))

    expected = outputs("functional")
    for style in ("sequential", "subclass"):
        np.testing.assert_allclose(outputs(style), expected, rtol=1e-5, atol=1e-5)


def check_type(model, style):
    """A style that fell back to another would fail here."""
    if style == "sequential":
        assert type(model) is keras.Sequential
        assert not any(isinstance(layer, keras.Model) for layer in model.layers), "flat: no models inside"
    elif style == "functional":
        assert type(model) is keras.src.models.Functional
        kernels = {n.split("/")[0] for n in kzoo.weights_by_name(model) if n.endswith("/kernel")}
        assert kernels <= {layer.name for layer in model.layers}, "the graph shows every layer with weights"
    else:
        assert isinstance(model, Definition) and type(model) is not Definition
        assert type(model).call is not keras.Model.call
        assert not isinstance(model, keras.Sequential | keras.src.models.Functional)


@functools.cache
def built(name):
    """The three styles of one seed, built once for all of a model's tests, which leave them as they were."""
    models = {}
    for style in STYLES:
        keras.utils.set_random_seed(0)
        models[style] = kzoo.create_model(name, style=style)
    return models


@pytest.mark.parametrize(("name", "style"), in_turn(FULL))
def test_weights_move_by_name(name, style, inputs_for, tmp_path):
    """From a style to the next, directly and by a file, onto other weights."""
    source, x = built(name)[style], inputs_for(built(name)["functional"])
    path = kzoo.save_weights(source, tmp_path / f"{style}.safetensors")
    keras.utils.set_random_seed(2)
    target = kzoo.create_model(name, style=STYLES[(STYLES.index(style) + 1) % 3])
    other, expected = whole(target(x, training=False)), whole(source(x, training=False))
    assert np.abs(other - expected).max() > 0
    kzoo.copy_weights(source, target)
    np.testing.assert_array_equal(whole(target(x, training=False)), expected)
    for variable in target.weights:
        variable.assign(keras.ops.zeros_like(variable))
    kzoo.load_weights(target, path)
    np.testing.assert_array_equal(whole(target(x, training=False)), expected)


@pytest.mark.parametrize("name", FULL)
class TestEveryModelInEveryStyle:
    @pytest.fixture
    def three(self, name):
        return built(name)

    @pytest.fixture
    def x(self, three, inputs_for):
        return inputs_for(three["functional"])

    def test_type_is_what_the_style_says_and_parameters_are_published(self, name, three):
        for style, model in three.items():
            assert model.count_params() == PARAMETERS[name]
            for network in networks_of(model):
                check_type(network, style)

    def test_equal_seeds_give_equal_outputs(self, name, three, x):
        outputs = {style: whole(model(x, training=False)) for style, model in three.items()}
        for style in STYLES:
            np.testing.assert_array_equal(outputs[style], outputs["functional"], err_msg=style)

    def test_every_weight_has_a_gradient(self, name, three, inputs_for):
        for model in three.values():
            inputs = tf.nest.map_structure(tf.constant, inputs_for(model, count=8))
            kept = [tf.identity(v.value) for v in model.non_trainable_variables]
            with tf.GradientTape() as tape:
                made = model(inputs, training=True)
                if isinstance(model, Networks):
                    made = model.discriminator(made, training=True)
                value = sum(tf.reduce_sum(tf.square(part)) for part in keras.tree.flatten(made))
            gradients = tape.gradient(value, [v.value for v in model.trainable_variables])
            for variable, before in zip(model.non_trainable_variables, kept, strict=True):
                variable.assign(before)
            assert not [v.path for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None]

    def test_summary_lists_every_layer(self, name, three):
        tables = {style: kzoo.summary(model) for style, model in three.items()}
        for style, table in tables.items():
            assert table.style == style
            assert sum(row.parameters for row in table.rows) == table.parameters == PARAMETERS[name]
            assert [(r.name, r.output_shape) for r in table.rows] == [
                (r.name, r.output_shape) for r in tables["functional"].rows
            ]

    def test_its_row_of_the_index_is_true(self, name, three):
        """All that can be said of it without Keras."""
        row, spec = index()[name], model_info(three["functional"]).spec
        trainable = sum(int(np.prod(v.shape)) for v in three["functional"].trainable_variables)
        assert (row["parameters"], row["trainable"]) == (three["functional"].count_params(), trainable)
        assert (row["task"], row["overrides"], row["classes"]) == (spec.task, spec.overrides, spec.classes)
        assert find_task(spec.task).name == spec.task


SERVE = """
import json, sys
sys.modules["kzoo"] = sys.modules["keras"] = None  # importing it fails from here on
import numpy as np
import tensorflow as tf

answers = {}
for job in json.load(open(sys.argv[1])):
    loaded = tf.saved_model.load(job["export"])
    inputs = dict(np.load(job["inputs"]))
    answer = {"tensor": loaded.signatures["serving_default"](**inputs)[job["output"]].numpy().tolist()}
    if job["png"]:
        found = loaded.signatures["serve_bytes"](bytes=tf.constant([open(p, "rb").read() for p in job["png"]]))
        answer |= {k: found[k].numpy().tolist() for k in ("scores", "class_ids")}
        answer["labels"] = [[x.decode() for x in row] for row in found["labels"].numpy()]
    answers[job["export"]] = answer
try:
    import kzoo
except ImportError:
    pass
else:
    sys.exit("kzoo could be imported")
json.dump(answers, open(sys.argv[2], "w"))
"""


@pytest.mark.parametrize(("name", "style"), in_turn(FULL))
def test_keras_file_round_trip(name, style, inputs_for, tmp_path):
    """The file says itself which model it is, and how that was built."""
    model = built(name)[style]
    x = inputs_for(model)
    model.save(tmp_path / "model.keras")
    again = kzoo.load_model(tmp_path / "model.keras")
    assert type(again) is type(model)
    np.testing.assert_array_equal(whole(again(x, training=False)), whole(model(x, training=False)))
    assert model_info(again) == model_info(model)


@pytest.mark.parametrize("name", FULL)
def test_every_style_exports_the_same_functions(name):
    """Where what the head reads is no single tensor, none gives it."""
    found = {}
    for style, model in built(name).items():
        made = load(model)
        signatures = made.task.signatures(made)
        found[style] = {key: list(signature.takes) for key, signature in signatures.items()}
    assert found["sequential"] == found["functional"] == found["subclass"]


# One model of each family, in the styles in turn, and the whole cross.
EXPORTED = [(name, style) for name in FULL for style in STYLES]
SOME = [(name, STYLES[k % 3]) for k, name in enumerate({index()[name]["family"]: name for name in FULL}.values())]


@pytest.mark.parametrize("chosen", [SOME, EXPORTED], ids=["some", "all"])
@pytest.mark.slow
def test_exports_are_served_without_kzoo(chosen, seeded, inputs_for, tmp_path):
    """In one process that can import neither kzoo nor Keras: tensors, and PNG bytes of images."""
    jobs, expected = [], {}
    for name, style in chosen:
        model = seeded(name, style)
        x = inputs_for(model)
        export = kzoo.export(model, tmp_path / f"{name}-{style}")
        record = json.loads((export.path / "assets.extra/kzoo.json").read_text())
        named = x if isinstance(x, dict) else {record["takes"][0]["name"]: x}
        np.savez(tmp_path / f"{name}-{style}.npz", **named)
        png = []
        if "serve_bytes" in export.signatures:
            raw = np.random.default_rng(1).integers(0, 256, (3, 40, 33), dtype="uint8")  # another size: resized
            png = [str(tmp_path / f"{name}-{k}.png") for k in range(3)]
            for image, path in zip(raw, png, strict=True):
                Image.fromarray(image).save(path)
        jobs.append(
            {
                "export": str(export.path), "inputs": str(tmp_path / f"{name}-{style}.npz"),
                "output": record["outputs"][0], "png": png,
            }
        )  # fmt: skip
        answers = kzoo.predict(model, png) if png else []
        said = model(x, training=False)
        said = said[record["outputs"][0]] if isinstance(said, dict) else said
        expected[str(export.path)] = (np.asarray(said), answers)
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-c", SERVE, str(tmp_path / "jobs.json"), str(tmp_path / "answers.json")]
    result = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert len(answers) == len(chosen)
    images = {model_spec(name).family for name, _ in chosen if model_spec(name).task == "image-classification"}
    assert sum(bool(found) for _, found in expected.values()) >= len(images) >= 6, "those that read images"
    for export, (tensor, predictions) in expected.items():
        scale = max(1.0, np.abs(tensor).max())
        np.testing.assert_allclose(answers[export]["tensor"], tensor, atol=1e-5 * scale)
        for k, prediction in enumerate(predictions):
            np.testing.assert_allclose(answers[export]["scores"][k], prediction.scores, atol=1e-5)
            assert answers[export]["class_ids"][k] == list(prediction.class_ids)
            assert answers[export]["labels"][k] == list(prediction.labels)
