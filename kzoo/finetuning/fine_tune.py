"""fine_tune: a model that has learned elsewhere, and a user's data, to a run like any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kzoo.data import Data, balanced_weights
from kzoo.engine import optimizer_of, own_seeds, recipe_of, set_trainable
from kzoo.engine import strategy as make_strategy
from kzoo.errors import KzooError
from kzoo.finetuning import low_rank
from kzoo.finetuning.origin import Origin, blank, fill, origin_of
from kzoo.finetuning.stages import stages_of
from kzoo.finetuning.tuning import Tuned, Tuning, passed_on
from kzoo.inputs import told
from kzoo.models import attach_info, model_info
from kzoo.records import VERBS, Fit, takes
from kzoo.runs import RunFolder, aside, begin, config_of, resumable, temporary_folder
from kzoo.signals import spared
from kzoo.tensorflow_internals import workers_of
from kzoo.verbs import data_of, feed_of, holds_of
from kzoo.weights import save_weights
from kzoo.zoo import model_spec

LATER = ("head_epochs", "epochs", "patience")  # what a resumed run may be given anew


@takes(*VERBS["fine_tune"])
@own_seeds()
@spared()
def fine_tune(model: Any = None, data: Any = None, **given: Any) -> Tuned:
    """Tune a network that has learned elsewhere to your data: first its head, then more and more of what is below.

    A fresh head is made for the classes of the data. It trains alone at first, everything below frozen and its batch
    normalization in inference mode; then one group of layers more is thawed in each stage, with lower learning rates
    the further below it lies (Howard and Ruder 2018). Each stage goes on from the best epoch so far on the validation
    split, and ends early where that does not improve. With `lora` one stage comes after the head's, in which low-rank
    products learn beside frozen kernels (Hu et al. 2022).

    Args:
        model: A name with `weights`, `"resnet20@cifar10"`, a run, a `.keras` file, a Run, or a Keras model of kzoo's
            builders.
        data: What `kzoo.load_data` takes, or Data. Raw examples with class names.

    Returns:
        Tuned, a Run: `kzoo.evaluate`, `predict` and `export` take it. Its model has the weights of the best epoch of
        all stages. The batch size is by default the recipe's, at most an eighth of the training examples.

    Raises:
        KzooError: Arguments that cannot hold; nothing has been written or fetched then.
        KeyboardInterrupt: After the resuming command was printed.
    """
    begun = begin("fine_tune", given, model, data, changeable=LATER, once_finished=())
    options, keeping, folder = begun.options, begun.keeping, begun.folder
    if begun.model is None:
        raise KzooError("fine_tune needs a model: a name with weights=…, a run, or a .keras file")
    _check(options)
    strategy = make_strategy(options.strategy, options.devices)
    worker = workers_of(strategy)[1]
    begun.check_folder(worker)
    origin = origin_of(begun.model, options.weights)
    learned = origin.info.inputs if origin.info is not None else None
    data = _data(origin, begun.data, begun.reading).in_bytes(getattr(learned, "numbers", ""))
    if options.class_weight == "balanced":
        options = replace(options, class_weight=balanced_weights(data.info))
    keras.utils.set_random_seed(options.seed)
    network = blank(origin, data, options.style, options.input_shape, options.set or {})
    endless = data.info.counts.get("train", -1) < 1  # how many examples there are is not known
    if endless and options.schedule not in (None, "constant"):
        raise KzooError(f"schedule={options.schedule!r} must know the length of the data; give schedule='constant'")
    options = replace(
        options, batch_size=options.batch_size or default_batch_size(network, data),
        schedule=options.schedule or ("constant" if endless else "cosine"),
    )  # fmt: skip
    planned = {k: getattr(options, k) for k in ("depth", "head_epochs", "epochs", "decay", "batch_norm")}
    planned["freeze"] = options.freeze or ()
    for stage in stages_of(network, [model_spec(origin.name).head], **planned):  # whatever else turns out to be new
        set_trainable(network, stage.frozen)
    set_trainable(network, ())
    feed = lambda: feed_of(network, data, Fit.of(passed_on(options), {"epochs": 1}), strategy)
    if model_spec(origin.name).inputs.known:  # a vocabulary is the weights'
        feed()
    report = fill(origin, network, data)
    stages = stages_of(network, report.reinitialised, **planned)
    if options.lora is not None:
        head = report.reinitialised or (model_spec(origin.name).head,)
        products = low_rank.enable(network, options.lora, head)
        stages = [*stages[:1], low_rank.stage_of(network, products, head, options.epochs)]
        set_trainable(network, ())

    if worker:
        folder, keeping = aside(folder), replace(keeping, run_dir=str(temporary_folder() / "run"), verbose=False)
    if folder is None:
        name = f"{origin.name}-{data.info.name}-tuned".replace("your data", "own-data")
        folder = RunFolder.create(name, keeping.run_dir)
    with folder.written():
        if not begun.resumed:
            told = {**config_of(begun, data), "source": origin.model, "finished": False}
            folder.write_json("config.json", {**told, "options": {**told["options"], "weights": origin.weights}})
            folder.write_splits(data.info)
            with folder.manifest.writing("start.safetensors") as beside:
                save_weights(network, beside)
            folder.settle()
        else:
            folder.update_config(options={**begun.config["options"], **type(options).of(begun.given).to_config()})
        fed = feed()
        inputs, targets = fed.reading.specs
        attach_info(network, replace(model_info(network), inputs=inputs, targets=targets))
        tuning = Tuning(network, data, origin, report, stages, options, fed, folder, worker, bool(keeping.verbose))
        with resumable("fine_tune", folder.path, tuning.progress.say):
            return tuning.run()


def _check(options: Any) -> None:
    """What a stage cannot do."""
    if options.cache and options.augment:
        raise KzooError(
            f"cache=True computes the features once, and augment={[*map(told, options.augment)]} changes the images"
            " each epoch; leave one of them out"
        )
    optimizer_of(options.optimizer)
    if options.lora is not None and (options.depth is not None or options.freeze or options.batch_norm == "adapt"):
        given = "depth" if options.depth is not None else "freeze" if options.freeze else "batch_norm"
        raise KzooError(f"lora={options.lora} freezes all below the head but its products; leave {given} out")
    if "learning_rate=" in options.optimizer:
        raise KzooError(f"optimizer={options.optimizer!r} has a rate of its own; give it as learning_rate=…")


def _data(origin: Origin, data: Any, reading: Any) -> Data:
    if data is None:
        raise KzooError("fine_tune needs data: the name or path of a data set, or kzoo.Data")
    found, fed = data_of(data, reading, holds_of(origin.name))
    if fed:
        raise KzooError(f"data must be a name, a path or kzoo.Data; received {type(data).__name__}")
    if not found.info.classes:
        raise KzooError(f"fine_tune makes a head for the classes of the data, and {found.info.name} names none")
    if found.validation is None:
        raise KzooError(f"fine_tune chooses by a validation split, and {found.info.name} has none; give validation=0.1")
    return found


def default_batch_size(model: keras.Model, data: Data) -> int:
    """The recipe's, where an epoch of the data has at least eight such batches."""
    recipe, examples = recipe_of(model), data.info.counts.get("train", -1)
    if examples < 1:  # of a stream
        return recipe.batch_size
    return max(1, min(recipe.batch_size, 2 ** int(np.log2(max(examples / 8, 1)))))
