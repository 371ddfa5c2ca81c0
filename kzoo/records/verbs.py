"""What the verbs take: one record of options each, built on common ones. Python, the command line and config.json take
them from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from kzoo.records.arguments import ANYTHING, FLAG, Names, Number, OneOf, Text, Whole, Wholes
from kzoo.records.inputs import PREPROCESSINGS, UNITS
from kzoo.records.kinds import (
    Augmenting,
    Callbacks,
    ClassWeight,
    Devices,
    Factors,
    Moments,
    Objects,
    Place,
    Rate,
    ShareOrData,
    Table,
)
from kzoo.records.model import STYLES
from kzoo.records.options import Options

AUGMENTATIONS = (
    "shift",
    "flip",
    "flip-vertical",
    "flips",
    "crop-flip",
    "rotate90",
    "rotate",
    "zoom",
    "color",
    "cutout",
)
XLA = OneOf("auto", "on", "off", also={True: "on", False: "off"})
PRECISIONS = OneOf("float32", "mixed_bfloat16", "mixed_float16")
SCHEDULES = OneOf("constant", "cosine", "inverse-sqrt")

Styled = Annotated[str | None, OneOf(*STYLES), "Of a model given by its name; default functional."]
Set = Annotated[
    dict[str, Any] | None, Table(),
    "Arguments of a model given by its name, its builder's: {'residual': False, 'depths': (3, 3, 3)}.",
]  # fmt: skip
Checkpoint = Annotated[
    str, OneOf("last", "best"), "Of a run: the weights it was left with, or those of its best epoch."
]
Rates = Annotated[
    dict[str, float] | None, Factors(),
    "{how names of layers begin: factor on the learning rate}: {'conv': 0.1} trains these layers ten times slower. The"
    " longest of several that fit decides; the factor of the others is 1.",
]  # fmt: skip
Preprocess = Annotated[
    str | None, OneOf(*PREPROCESSINGS),
    "What a model of your own is given of images: 0-255, as they are; 0-1; -1-1; torch or caffe, without ImageNet's"
    " means as these did it. Default 0-1, or what the network of keras.applications in it learned from; as they are,"
    " where something in the model scales them.",
]  # fmt: skip
Loss = Annotated[Any, ANYTHING, "As keras.Model.compile takes it; default the model's own compile, then the recipe."]
Weights = Annotated[
    str | None, Place("a tag, a path or an address"),
    "Of a name: imagenet, timm, …; the path of a weight file, https://… or hf://owner/name.",
]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------------
# What several verbs have
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataOptions(Options):
    """How data given by its name or path is read: `load_data`."""

    data_dir: Annotated[
        str | None, Place(), "Where prepared TensorFlow Datasets lie; default TFDS_DATA_DIR, then TFDS' own place."
    ] = None
    download: Annotated[bool, FLAG, "Let TensorFlow Datasets fetch a set that is not there."] = False
    only: Annotated[
        list[str | int] | None, Names("names or numbers of classes", numbers=True),
        "Only these classes of the data, by name or number.",
    ] = None  # fmt: skip
    validation: Annotated[
        Any, ShareOrData(),
        "Share of train that is taken for validation where the data has none; default 0.1. For fit also data of yours,"
        " (x, y[, weight]) or a tf.data.Dataset, prepared as the training data is.",
    ] = None  # fmt: skip
    test: Annotated[
        float | None, Number(at_least=0, below=1), "Share of train that is taken for test where the data has none."
    ] = None
    per_class: Annotated[int | None, Whole(), "Train on only so many examples of each class."] = None
    split_seed: Annotated[int, Whole(0), "Another one draws other examples for these parts."] = 0
    languages: Annotated[str | None, Text(), "Direction of translations, from-to: en-de."] = None
    columns: Annotated[
        dict[str, str | int] | None, Table(),
        "Which columns of a table are what: {'text': 'review', 'label': 'stars'}, or by number from 1.",
    ] = None  # fmt: skip
    holds: Annotated[
        str | None, OneOf("images", "texts", "pairs", "prose", "rows", "measurements", "series"),
        "What a path is read as where it could be several things: images, texts, pairs, prose, rows (a class each),"
        " measurements (a number each), series.",
    ] = None  # fmt: skip
    units: Annotated[
        str | None, OneOf(*UNITS),
        "What texts are cut into; default words, or characters where they are written without spaces.",
    ] = None  # fmt: skip
    splits: Annotated[
        str | None, Place(), "A run, or its splits.json: each example in the part where it was there."
    ] = None


@dataclass(frozen=True)
class Keeping(Options):
    """Where a training is written, what it goes on from, what it says."""

    run_dir: Annotated[str | None, Place(), "The run folder, exactly; default the next number in runs/."] = None
    resume: Annotated[
        str | None, Place(number=True),
        "A run (path, number or 'last') to go on with, in its own folder, at its last checkpoint. Model, data and"
        " options are read from it; what is given goes first.",
    ] = None  # fmt: skip
    config: Annotated[
        str | None, Place(number=True),
        "A run, or a config.json, whose model, data and options a new run takes; what is given goes first.",
    ] = None  # fmt: skip
    verbose: Annotated[
        bool | str, OneOf(True, False, "epochs", also={2: "epochs", "auto": True}),
        "Print plan and progress on stderr; 'epochs': the progress only.",
    ] = True  # fmt: skip


@dataclass(frozen=True)
class Computing(Options):
    """Where and how the numbers are computed."""

    strategy: Annotated[
        Any, ANYTHING,
        "auto, default, one, mirrored, central, multiworker, parameter_server or tpu; see kzoo.strategy.",
    ] = "auto"  # fmt: skip
    devices: Annotated[Any, Devices(), "How many, or names: 2, or GPU:0,GPU:1."] = None
    xla: Annotated[bool | str, XLA, "Compile the step by XLA: auto, on or off."] = "auto"
    precision: Annotated[
        str | None, PRECISIONS,
        "float32, mixed_bfloat16 or mixed_float16 (with loss scaling), on every layer for the run and taken back"
        " after it; default what the layers have.",
    ] = None  # fmt: skip
    kernels: Annotated[
        bool, FLAG, "Equal, faster code in the place of some stock Keras layers; the plan names them."
    ] = True


@dataclass(frozen=True)
class Learning(Computing):
    """What decides a training step."""

    style: Styled = None
    set: Set = None
    batch_size: Annotated[int | None, Whole(), "Global; default the model's recipe."] = None
    optimizer: Annotated[
        Any, ANYTHING,
        "Any Keras optimizer or its name, which may carry settings: adamw:weight_decay=0.05,clipnorm=1,use_ema=true;"
        " weight decay of such a one leaves biases and norms alone. Default the model's own compile, then the recipe.",
    ] = None  # fmt: skip
    sync_batch_norm: Annotated[
        bool, FLAG, "Batch normalization over the batch of all replicas, not of each; needs XLA off."
    ] = False
    freeze: Annotated[
        list[str] | None, Names("names of layers, or how they begin"),
        "Layers whose names begin so do not learn, and their batch normalization keeps its statistics.",
    ] = None  # fmt: skip
    repeated_rows: Annotated[
        str, OneOf("sum", "keras"),
        "Of an embedding's row that a batch reads several times: sum, it learns from the sum of their gradients; keras,"
        " as Keras' fit on TensorFlow, where Adam and others square each alone (on one device only).",
    ] = "sum"  # fmt: skip
    class_weight: Annotated[
        Any, ClassWeight(),
        "{class number: weight of its examples in the loss}, or 'balanced': every class counts the same.",
    ] = None  # fmt: skip
    augment: Annotated[
        list[Any] | None, Augmenting("names such as 'shift', Keras layers or functions of images", among=AUGMENTATIONS),
        f"Of images: {', '.join(AUGMENTATIONS)}; in Python also Keras layers and functions of a batch of images in 0 to"
        " 255.",
    ] = None  # fmt: skip
    seed: Annotated[
        int, Whole(0, 2**32), "Of shuffling, of random layers and, for a model given by name, of its weights."
    ] = 0
    deterministic: Annotated[bool, FLAG, "TensorFlow's deterministic operations (slower)."] = False
    limit_train_batches: Annotated[int | None, Whole(), "Only so many batches an epoch: a quick try."] = None


@dataclass(frozen=True)
class Training(Learning):
    """What fit, each stage of fine_tune and each trial of tune have."""

    epochs: Annotated[int | None, Whole(), "How often the training split is seen; default the model's recipe."] = None
    learning_rate: Annotated[
        Any, Rate(), "Of the optimizer; 'find' looks for one first, see kzoo.find_learning_rate."
    ] = None
    schedule: Annotated[
        str | None, SCHEDULES,
        "Of the learning rate: constant, cosine (half a cosine to zero over the run) or inverse-sqrt (after the"
        " warm-up).",
    ] = None  # fmt: skip
    patience: Annotated[
        int | None, Whole(),
        "Stop when the best epoch, by the score of the task, is so many epochs ago. However the"
        " run ends, the model then has the weights of its best epoch.",
    ] = None  # fmt: skip
    limit_validation_batches: Annotated[int | None, Whole(), "Only so many validation batches."] = None
    checkpoint: Annotated[
        str, Moments(),
        "When everything is written down, so that a kill loses nothing before: epoch, after each epoch; steps=100 or"
        " seconds=30, also after so many batches or seconds inside one.",
    ] = "seconds=300"  # fmt: skip
    on_nan: Annotated[
        str, OneOf("stop", "continue"),
        "Of a loss that is no number any more: stop, an error, with the last good checkpoint kept; or continue.",
    ] = "stop"  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------------
# The verbs that train
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit(Training):
    warmup: Annotated[int | None, Whole(), "Steps over which the learning rate first rises to its value."] = None
    rates: Rates = None
    preprocess: Preprocess = None
    loss: Loss = None
    metrics: Annotated[Any, Objects(), "As keras.Model.compile takes them; default as for loss."] = None
    callbacks: Annotated[Any, Callbacks(), "Keras callbacks."] = None
    max_time: Annotated[float | None, Number(above=0), "Minutes after which no further epoch begins."] = None


@dataclass(frozen=True)
class FineTuning(Training):
    weights: Weights = None
    input_shape: Annotated[
        Any, Wholes("(96, 96, 3)"), "Another image size or number of channels: 96x96x3. Default the model's."
    ] = None
    depth: Annotated[int | None, Whole(0), "Groups of layers to thaw below the head; 0: none. Default all."] = None
    head_epochs: Annotated[int, Whole(), "At most, for the head alone."] = 10
    epochs: Annotated[int, Whole(), "At most, for each stage after that."] = 10
    learning_rate: Annotated[
        Any, Rate(),
        "Of the head, once layers below it learn too; alone, in the first stage, it has ten times that. 'find': what"
        " kzoo.find_learning_rate gives for the head alone is that.",
    ] = 1e-3  # fmt: skip
    decay: Annotated[
        float, Number(above=0, at_most=1), "Factor on the learning rate from a group to the one below it."
    ] = 1 / 2.6
    batch_norm: Annotated[
        str, OneOf("frozen", "adapt"),
        "frozen: batch normalization below the head keeps its statistics and its scale in every stage; adapt: it is"
        " thawed with its group.",
    ] = "frozen"  # fmt: skip
    lora: Annotated[
        int | None, Whole(),
        "Rank of the products that are added to the kernels below the head, and learn in their place (LoRA): one stage"
        " after the head's. The model has them in its kernels in the end. Default none.",
    ] = None  # fmt: skip
    patience: Annotated[int, Whole(), "Epochs without a better validation score after which a stage ends."] = 5
    cache: Annotated[
        bool | None, FLAG,
        "Compute what the frozen part gives once, and train the head on that: the same numbers, many times faster."
        " Default where nothing is augmented.",
    ] = None  # fmt: skip
    optimizer: Annotated[
        str, Text("a name, since each stage needs a new one"), "A name, as fit takes it: each stage makes a new one."
    ] = "adam"
    schedule: Annotated[
        str | None, SCHEDULES,
        "Of each stage, after a tenth of it over which the rates rise; default cosine, of data of unknown length"
        " constant.",
    ] = None  # fmt: skip


@dataclass(frozen=True)
class Searched(Options):
    """What a space of recipes holds; given, it is not searched."""

    style: Styled = None
    set: Set = None
    weights: Weights = None
    batch_size: Annotated[int | None, Whole(), "Global. Given, it is not searched; so the next ones."] = None
    learning_rate: Annotated[float | None, Number(above=0), "Of the optimizer."] = None
    optimizer: Annotated[
        str | None, Text("a name, such as 'adam' or 'sgd:momentum=0.9'"), "A name, as fit takes it."
    ] = None
    dropout: Annotated[float | None, Number(at_least=0, below=1), "Of a model that has dropout."] = None
    depth: Annotated[int | None, Whole(0), "Of fine-tuning: groups of layers to thaw below the head."] = None
    augment: Annotated[
        list[str] | None, Names("names such as 'shift'", among=("none", *AUGMENTATIONS)), "As for fit, or none."
    ] = None


@dataclass(frozen=True)
class Searching(Searched, Training):
    algorithm: Annotated[
        str, OneOf("random", "hyperband", "bayesian"),
        "random, hyperband (many trials of few epochs, the best of them go on) or bayesian.",
    ] = "random"  # fmt: skip
    trials: Annotated[int, Whole(), "How many; of Hyperband, each time that one goes on counts."] = 8
    epochs: Annotated[
        int | None, Whole(), "Of a trial, of Hyperband of the longest, of fine-tuning of a stage; default the recipe's."
    ] = None
    objective: Annotated[
        str | None, Text(), "What trials are scored by: val_loss, or a metric of the recipe with val_ before it."
    ] = None
    compare_seeds: Annotated[
        int, Whole(0),
        "Train the default recipe and the best trial anew on so many other seeds, and score them on test; 0: do not.",
    ] = 0  # fmt: skip


@dataclass(frozen=True)
class FindingRate(Learning):
    low: Annotated[float, Number(above=0), "The rate to begin with."] = 1e-6
    high: Annotated[float, Number(above=0), "The rate to end with."] = 1.0
    steps: Annotated[int, Whole(20), "How many rates are tried, one a step."] = 100
    loss: Loss = None
    rates: Rates = None
    preprocess: Preprocess = None


# ----------------------------------------------------------------------------------------------------------------------
# The verbs that use what is trained
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Using(Options):
    checkpoint: Checkpoint = "last"
    preprocess: Preprocess = None


@dataclass(frozen=True)
class Evaluating(Using):
    split: Annotated[str, OneOf("train", "validation", "test"), "Which part of the data."] = "test"
    batch_size: Annotated[int, Whole(), "Of the forward passes."] = 256
    output_dir: Annotated[
        str | None, Place(), "Where figures and pictures go; default the run's folder, otherwise nowhere."
    ] = None


@dataclass(frozen=True)
class Answering(Using):
    batch_size: Annotated[int, Whole(), "How many at once."] = 64


@dataclass(frozen=True)
class Exporting(Using):
    labels: Annotated[
        list[str] | None, Names("names of the classes"), "Names of the classes, for a model that does not know them."
    ] = None


@dataclass(frozen=True)
class Timing(Computing):
    style: Styled = None
    set: Set = None
    batch_size: Annotated[int, Whole(), "Global."] = 32
    size: Annotated[int | None, Whole(), "Side of the images, of a network given by its name; default its own."] = None
    tokens: Annotated[
        int, Whole(), "Of a text, for networks that read any number of them; pixels a side, for those of any size."
    ] = 64
    against: Annotated[
        str | None, OneOf("keras", "torch"),
        "keras: time Model.fit and Model.predict too, in the same rounds, on the same data. torch: the training of"
        " torchvision's network of that name.",
    ] = None  # fmt: skip
    sweep: Annotated[
        str | None, OneOf("batch", "size", "tokens", "replicas"),
        "Time training alone, with growing batches, images, texts, or on more and more replicas.",
    ] = None  # fmt: skip
    seconds: Annotated[float, Number(above=0), "Roughly, of each measurement."] = 2.0
    rounds: Annotated[int, Whole(), "Measurements of each, after one that warms up."] = 5


# {verb: the records of its options}: of the Python function and of the command line.
VERBS: dict[str, tuple[type[Options], ...]] = {
    "fit": (Fit, DataOptions, Keeping),
    "fine_tune": (FineTuning, DataOptions, Keeping),
    "tune": (Searching, DataOptions, Keeping),
    "hypermodel": (Searched, DataOptions),
    "find_learning_rate": (FindingRate, DataOptions),
    "evaluate": (Evaluating, DataOptions),
    "predict": (Answering,),
    "generate": (Answering,),
    "export": (Exporting,),
    "bench": (Timing,),
}
