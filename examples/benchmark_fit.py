"""kzoo's loop beside Model.fit: the same model, batches and precision in the same run.

    python examples/benchmark_fit.py                 # all rows, about half an hour; let nothing else run
    python examples/benchmark_fit.py lstm resnet20   # some of them
    python examples/benchmark_fit.py --xla           # kzoo's loop with XLA on and off: what xla="auto" goes by

Each row is measured three times, of three rounds in turn each. It prints training rates, kzoo's and that of `fit` with
its better `steps_per_execution`, XLA as each chooses, and the ratio: the median of the three, the least and the
greatest; then the same of whole calls of three epochs, and the process' highest memory before Keras' `fit` was first
called.
"""

import statistics
import sys

import keras
from keras import layers

import kzoo


def lenet():
    return kzoo.lenet5()


def resnet50():
    return keras.applications.ResNet50(weights=None, input_shape=(96, 96, 3), classes=10)


def resnet20():
    """He et al. 2015, section 4.2: three stages of three blocks with 16, 32 and 64 channels; projecting shortcuts."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.ReLU()(conv_norm(x, 16, 1))
    for stage, channels in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stage and not block else 1
            y = layers.ReLU()(conv_norm(x, channels, stride))
            y = conv_norm(y, channels, 1)
            if stride == 2:
                x = conv_norm(x, channels, 2, kernel=1)
            x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, "softmax")(x), name="resnet20")


def conv_norm(x, channels, stride, kernel=3):
    x = layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False)(x)
    return layers.BatchNormalization()(x)


def lstm():
    inputs = keras.Input((80,), dtype="int32")
    x = layers.LSTM(64)(layers.Embedding(10_000, 64)(inputs))
    return keras.Model(inputs, layers.Dense(2, "softmax")(x), name="lstm")


def transformer():
    """Four encoder layers, 128 wide, four heads, after normalisation as in Vaswani et al. 2017."""
    inputs = keras.Input((64,), dtype="int32")
    x = layers.Embedding(10_000, 128)(inputs)
    for _ in range(4):
        attended = layers.MultiHeadAttention(4, 32)(x, x)
        x = layers.LayerNormalization()(layers.Add()([x, attended]))
        y = layers.Dense(128)(layers.Dense(512, "relu")(x))
        x = layers.LayerNormalization()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(2, "softmax")(x), name="transformer")


RUNS = 3
ROWS = {  # name: (builder, batch, precision)
    "lenet": (lenet, 128, "float32"),
    "resnet50": (resnet50, 16, "float32"),
    "resnet50-bf16": (resnet50, 16, "mixed_bfloat16"),
    "resnet20": (resnet20, 128, "float32"),
    "resnet20-bf16": (resnet20, 128, "mixed_bfloat16"),
    "lstm": (lstm, 64, "float32"),
    "transformer": (transformer, 64, "float32"),
}


def against_fit(name: str) -> None:
    build, batch, precision = ROWS[name]
    runs = []
    for _ in range(RUNS):
        model = build()
        model.compile("adam", "sparse_categorical_crossentropy")
        runs.append(kzoo.bench(model, batch_size=batch, precision=precision, rounds=3, against="keras"))
    found, of = runs[0], lambda value: sorted(map(value, runs))
    rates, others = of(lambda r: r.training), of(lambda r: max(r.others.values()))
    wholes = of(lambda r: r.whole)
    print(
        f"| {name} | {batch} | {precision} | {'on' if found.xla else 'off'} | {', '.join(found.kernels)} |"
        f" {statistics.median(rates):,.0f} {found.unit}/s | {statistics.median(others):,.0f} |"
        f" {spread(of(lambda r: r.ratio))} | {statistics.median(wholes):.1f} s, epochs of {found.examples:,} |"
        f" {spread(of(lambda r: r.whole_ratio))} | {found.memory:,.0f} MB |",
        flush=True,
    )


def spread(ratios: list[float]) -> str:
    """The middle one, and the least and the greatest."""
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def xla_on_and_off(name: str) -> None:
    build, batch, precision = ROWS[name]
    rates, kinds = {}, {}
    for xla in ("off", "on"):
        model = build()
        model.compile("adam", "sparse_categorical_crossentropy")
        found = kzoo.bench(model, batch_size=batch, precision=precision, xla=xla, rounds=3)
        rates[xla], kinds[xla] = found.training, f"{found.first_step:.0f} s"
    print(
        f"| {name} | {batch} | {precision} | {rates['off']:,.0f} {found.unit}/s | {rates['on']:,.0f} |"
        f" {rates['on'] / rates['off']:.2f} | {kinds['off']}, {kinds['on']} |",
        flush=True,
    )


if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if name != "--xla"] or list(ROWS)
    if "--xla" in sys.argv:
        print("| net | batch | precision | xla off | xla on | ratio | first step, off and on |")
        print("|---|---:|---|---:|---:|---:|---|")
    else:
        print("| net | batch | precision | xla | kernels | kzoo | fit | ratio | whole of kzoo.fit | ratio | memory |")
        print("|---|---:|---|---|---|---:|---:|---:|---:|---:|---:|")
    for name in names:
        xla_on_and_off(name) if "--xla" in sys.argv else against_fit(name)
