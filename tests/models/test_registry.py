"""Names, arguments, and what is refused in one line."""

from dataclasses import replace

import keras
import pytest

import kzoo
from kzoo import zoo
from kzoo.models.lenet import LeNet5
from kzoo.models.mlp import MLP
from kzoo.records import ModelSpec, Recipe


def test_list_models_by_glob_and_filter():
    assert kzoo.list_models("lenet*") == ["lenet5", "lenet5_1998"]
    assert {"lenet5", "resnet20", "resnet50", "vgg16"} <= set(kzoo.list_models(weights=True))
    assert "alexnet" not in kzoo.list_models(weights=True) and "alexnet" in kzoo.list_models(weights=False)
    assert "lenet5" not in kzoo.list_models(weights=False)
    assert kzoo.list_models(task="tabular-classification") == ["perceptron", "mlp_xor", "mlp_table"]
    assert kzoo.list_models("resnext*") == []


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setattr(zoo, "_specs", dict(zoo._specs))
    spec = ModelSpec(
        name="my_lenet", family="mine", task="image-classification", definition=LeNet5, input_shape=(28, 28, 1),
        recipe=Recipe("sparse_categorical_crossentropy", ("accuracy",)), paper="none", summary="mine", classes=4,
    )  # fmt: skip
    return kzoo.register_model(spec)


def test_a_users_model_is_known_by_its_name(mine):
    assert "my_lenet" in kzoo.list_models()
    assert kzoo.create_model("my_lenet").output_shape == (None, 4)


def test_a_name_is_taken_once(mine):
    with pytest.raises(kzoo.KzooError, match="'my_lenet' is registered already, by kzoo.models.lenet"):
        kzoo.register_model(replace(mine, definition=MLP))
    other = replace(mine, name="lenet5", definition=type("Mine", (LeNet5,), {"__module__": "mine"}))
    with pytest.raises(kzoo.KzooError, match="'lenet5' comes with kzoo; give yours another name"):
        kzoo.register_model(other)
    assert kzoo.register_model(replace(mine, classes=5)).classes == 5, "a module that is run again"
    assert kzoo.create_model("my_lenet").output_shape == (None, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kzoo.create_model("lenet"), "unknown model 'lenet'; did you mean 'lenet5'"),
        (lambda: kzoo.create_model("lenet5", style="eager"), "unknown style 'eager'; allowed: sequential, functional"),
        (lambda: kzoo.lenet5(classes=0), "classes must be a whole number of at least 1; received 0"),
        (lambda: kzoo.lenet5(classes=2.5), "received 2.5"),
        (lambda: kzoo.lenet5(classes=True), "received True"),
        (lambda: kzoo.lenet5_1998(classes=5), "has exactly 10 classes; received classes=5"),
        (lambda: kzoo.lenet5_1998(input_shape=(48, 48, 1)), "reads (32, 32, 1) and nothing else"),
        (lambda: kzoo.lenet5(weights=3), "weights must be None, a tag, a path or an address; received 3"),
        (lambda: kzoo.mlp(hidden=5), "hidden must be whole numbers such as (3, 4, 6, 3); received 5"),
        (lambda: kzoo.model_card("lenet5@cifar"), "unknown weights of lenet5 'cifar'; allowed: mnist"),
        (lambda: kzoo.load_model("lenet5@x.safetensors"), "no weight file there"),
        (lambda: kzoo.lenet5(weights="imagenet"), "unknown weights of lenet5 'imagenet'; allowed: mnist"),
        (lambda: kzoo.mlp(weights="mnist"), "none are published yet"),
        (lambda: kzoo.lenet5(dropout=1), "unknown argument of lenet5 'dropout'"),
        (lambda: kzoo.mlp(drop_rate=1), "did you mean 'dropout'"),
        (lambda: kzoo.lenet5(input_shape=(8, 8, 1)), "lenet5 cannot be built with input_shape=(8, 8, 1)"),
        (lambda: kzoo.lenet5(input_shape=(28, 28)), "has 3 numbers, such as (28, 28, 1); received (28, 28)"),
        (lambda: kzoo.lenet5(input_shape=(28, 0, 1)), "each number of input_shape must be"),
        (lambda: kzoo.lenet5(pooling="avg"), "pooling='avg' goes with include_top=False only"),
        (lambda: kzoo.lenet5(include_top=False, pooling="sum"), "pooling must be None, 'avg' or 'max'"),
        (lambda: kzoo.lenet5_1998(include_top=False), "does not take include_top=False"),
        (lambda: kzoo.lenet5(style="subclass", input_tensor=keras.Input((28, 28, 1))), "style='functional' only"),
        (lambda: kzoo.list_models(task="vision"), "unknown task 'vision'"),
        (lambda: kzoo.load_model("lenet5"), "is an untrained model; give lenet5@mnist"),
        (lambda: kzoo.model_card("lenet9"), "unknown model 'lenet9'; did you mean 'lenet5'"),
    ],
)
def test_mistakes_are_one_clear_line(call, message):
    with pytest.raises(kzoo.KzooError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_keras_applications_arguments():
    features = kzoo.lenet5(include_top=False)
    assert features.output_shape == (None, 5, 5, 16)
    assert kzoo.lenet5(include_top=False, pooling="max").output_shape == (None, 16)
    assert kzoo.lenet5(classes=3, classifier_activation=None).layers[-1].activation is keras.activations.linear
    tensor = keras.Input((40, 40, 3), name="photo")
    model = kzoo.lenet5(input_tensor=tensor, name="mine")
    assert model.inputs[0] is tensor and model.name == "mine"
    assert kzoo.lenet5(True, None, None, (32, 32, 3)).input_shape == (None, 32, 32, 3), "in keras.applications' order"
    assert kzoo.lenet5(activation="relu").get_layer("c1").activation is keras.activations.relu


def test_builders_say_what_they_take():
    assert "61,706 parameters" in kzoo.lenet5.__doc__ and "mnist" in kzoo.lenet5.__doc__
    assert kzoo.lenet5.__name__ == "lenet5"
