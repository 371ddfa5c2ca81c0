"""The tables that lectures on convolutional networks show, computed from the networks; and where their sums differ.

VGG-16 layer by layer, three 3x3 convolutions for one 7x7, the Inception module with and without bottlenecks, AlexNet's
neurons, GoogLeNet beside AlexNet. What lectures print is a number in this file; the rest comes from `kzoo.summary`.

    python examples/textbook_tables.py          (prints Markdown: the tables of docs/tables.md)
"""

import keras
from keras import layers

import kzoo


def table(head, rows):
    """Markdown lines; numbers to the right."""
    cell = lambda x: f"{x:,}" if isinstance(x, int) else str(x)
    lines = [head, ["---:" if isinstance(x, int) else "---" for x in rows[0]], *([cell(x) for x in r] for r in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def shape(row):
    return "x".join(map(str, row.output_shape[1:]))


def vgg16():
    """Every layer that holds values, as the lecture lists them."""
    vgg = kzoo.summary("vgg16")
    rows = [
        (row.name, shape(row), row.values, row.parameters - row.biases, row.parameters, row.macs or 0)
        for row in (*vgg.inputs, *vgg.rows)
        if row.values
    ]
    rows.append(("**sum**", "", vgg.values, vgg.parameters - vgg.biases, vgg.parameters, vgg.macs))
    return [
        *table(("layer", "output", "values", "weights", "with biases", "multiplications"), rows),
        "",
        f"All values of one image in float32: {vgg.values:,} x 4 bytes = {vgg.memory / 1e6:.0f} MB.",
        "The lecture prints 24M x 4 bytes = 96 MB.",
    ]


def stack(kernels, channels):
    """Convolutions one after another, without biases."""
    image = x = keras.Input((32, 32, channels))
    for kernel in kernels:
        x = layers.Conv2D(channels, kernel, use_bias=False)(x)
    return kzoo.summary(keras.Model(image, x))


def small_kernels(channels=64):
    rows = []
    for text, kernels in (("three 3x3", (3, 3, 3)), ("one 7x7", (7,))):
        made = stack(kernels, channels)
        field = "x".join(map(str, made.rows[-1].receptive_field))
        rows.append((text, field, made.parameters, f"{made.parameters // channels**2} C^2"))
    return table(("convolutions", "receptive field", f"weights, C = {channels}", "in C"), rows)


def inception(bottleneck):
    """The lecture's module on 28x28x256: 128 1x1, 192 3x3 and 96 5x5 filters, and 3x3 pooling."""
    image = keras.Input((28, 28, 256))
    conv = lambda filters, kernel, name: layers.Conv2D(filters, kernel, padding="same", name=name)
    first, pooled = conv(128, 1, "1x1")(image), layers.MaxPooling2D(3, 1, "same", name="pool")(image)
    three = conv(64, 1, "3x3 reduce")(image) if bottleneck else image
    five = conv(64, 1, "5x5 reduce")(image) if bottleneck else image
    if bottleneck:
        pooled = conv(64, 1, "pool projection")(pooled)
    parts = [first, conv(192, 3, "3x3")(three), conv(96, 5, "5x5")(five), pooled]
    return kzoo.summary(keras.Model(image, layers.Concatenate(name="output")(parts)))


def inceptions():
    lines = []
    for text, bottleneck, printed in (("naive", False, "854M"), ("with 1x1 convolutions of 64", True, "353M")):
        made = inception(bottleneck)
        rows = [(row.name, shape(row), row.macs) for row in made.rows]
        rows.append((f"**{text}** (the lecture: {printed})", shape(made.rows[-1]), made.macs))
        lines += [*table(("layer", "output", "multiplications"), rows), ""]
    row = next(row for row in made.rows if row.name == "5x5")
    wrong = row.macs // 64 * 264
    return [
        *lines,
        f"The 5x5 reads 64 channels. With the 264 of the lecture's row it would take {wrong:,} for {row.macs:,},",
        f"and all together {made.macs - row.macs + wrong:,}: not 353M either.",
    ]


# What figure 2 of AlexNet's paper says of each layer; the layer of kzoo.alexnet with the output of both GPUs.
ALEXNET = {
    "conv1": 253_440, "conv2_output": 186_624, "conv3": 64_896, "conv4_output": 64_896, "conv5_output": 43_264,
    "fc6": 4096, "fc7": 4096, "predictions": 1000,
}  # fmt: skip


def alexnet():
    rows = {row.name: row for row in kzoo.summary("alexnet").rows}
    return table(
        ("layer", "output", "neurons", "the caption"),
        [(name, shape(rows[name]), rows[name].values, printed) for name, printed in ALEXNET.items()],
    )


def googlenet():
    nets = {name: kzoo.summary(name) for name in ("alexnet", "googlenet")}
    rows = [
        (name, made.parameters, made.rows[-1].parameters, made.parameters - made.rows[-1].parameters, made.macs)
        for name, made in nets.items()
    ]
    ratio = nets["alexnet"].parameters / nets["googlenet"].parameters
    head = ("network", "parameters", "of these the last layer's", "without it", "multiplications")
    return [*table(head, rows), "", f"GoogLeNet has {ratio:.1f} times fewer parameters than AlexNet."]


SECTIONS = {"VGG-16": vgg16, "Three 3x3 for one 7x7": small_kernels, "The Inception module": inceptions,
            "AlexNet's neurons": alexnet, "GoogLeNet beside AlexNet": googlenet}  # fmt: skip


def main():
    for title, section in SECTIONS.items():
        print(f"## {title}\n")
        print("\n".join(section()), end="\n\n")


if __name__ == "__main__":
    main()
