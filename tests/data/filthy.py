"""Image files of every kind that lie in people's folders, made under a seed: those that are read, with the picture that
people see, and those that are named.
"""

import io

import numpy as np
from PIL import Image, ImageOps

SIDE = (40, 56)  # height, width


def picture(seed, size=SIDE):
    """A smooth RGB picture, no two sides of which are alike."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (2, 2, 3)).astype("uint8")
    return Image.fromarray(corners).resize(size[::-1], Image.BILINEAR)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(kind, orientation, **options):
    """A photograph as a phone keeps it: lying, with a note of how to turn it."""

    def write(seed):
        exif = Image.Exif()
        exif[0x0112] = orientation
        return encoded(picture(seed), kind, exif=exif, **options)

    return write


def in_alpha(seed):
    """Black all over, and drawn by what is transparent."""
    grey = np.asarray(picture(seed).convert("L"))
    return encoded(Image.fromarray(np.dstack([np.zeros((*grey.shape, 3), "uint8"), 255 - grey])), "PNG")


def sixteen_bits(largest):
    def write(seed):
        grey = np.asarray(picture(seed).convert("L")).astype("float64")
        return encoded(Image.fromarray((grey / grey.max() * largest).astype("uint16")), "PNG")

    return write


def animated(kind):
    return lambda seed: encoded(
        picture(seed), kind, save_all=True, append_images=[picture(seed + 1)], duration=50, loop=0
    )


def cut(kind):
    def write(seed):
        whole = encoded(picture(seed), kind)
        return whole[: len(whole) // 2]

    return write


# {name of the file: (bytes of a seed, how far the pixels may be from what Pillow makes of them)}.
READ = {
    "plain.png": (lambda seed: encoded(picture(seed), "PNG"), 0),
    "plain.jpg": (lambda seed: encoded(picture(seed), "JPEG"), 8),
    "SHOUTED.JPG": (lambda seed: encoded(picture(seed), "JPEG"), 8),
    "fif.jfif": (lambda seed: encoded(picture(seed), "JPEG"), 8),
    "pe.jpe": (lambda seed: encoded(picture(seed), "JPEG"), 8),
    "progressive.jpeg": (lambda seed: encoded(picture(seed), "JPEG", progressive=True), 8),
    "cmyk.jpg": (lambda seed: encoded(picture(seed).convert("CMYK"), "JPEG"), 12),
    "grey.jpg": (lambda seed: encoded(picture(seed).convert("L"), "JPEG"), 8),
    "plain.gif": (lambda seed: encoded(picture(seed), "GIF"), 0),
    "moving.gif": (animated("GIF"), 0),
    "plain.bmp": (lambda seed: encoded(picture(seed), "BMP"), 0),
    "palette.bmp": (lambda seed: encoded(picture(seed).quantize(16), "BMP"), 0),
    "bits.bmp": (lambda seed: encoded(picture(seed).convert("1"), "BMP"), 0),
    "grey.bmp": (lambda seed: encoded(picture(seed).convert("L"), "BMP"), 0),
    "plain.webp": (lambda seed: encoded(picture(seed), "WEBP"), 4),
    "clear.webp": (lambda seed: encoded(picture(seed).convert("RGBA"), "WEBP", lossless=True), 0),
    "plain.tif": (lambda seed: encoded(picture(seed), "TIFF"), 0),
    "packed.tiff": (lambda seed: encoded(picture(seed), "TIFF", compression="tiff_lzw"), 0),
    "plain.ppm": (lambda seed: encoded(picture(seed), "PPM"), 0),
    "plain.pgm": (lambda seed: encoded(picture(seed).convert("L"), "PPM"), 0),
    "plain.avif": (lambda seed: encoded(picture(seed), "AVIF"), 0),
    "palette.png": (lambda seed: encoded(picture(seed).quantize(16), "PNG"), 0),
    "palette_clear.png": (lambda seed: encoded(picture(seed).quantize(16), "PNG", transparency=2), 0),
    "colour_clear.png": (lambda seed: encoded(picture(seed), "PNG", transparency=picture(seed).getpixel((3, 3))), 0),
    "bits.png": (lambda seed: encoded(picture(seed).convert("1"), "PNG"), 0),
    "grey_alpha.png": (lambda seed: encoded(picture(seed).convert("LA"), "PNG"), 0),
    "drawn_in_alpha.png": (in_alpha, 0),
    "16_bits.png": (sixteen_bits(65535), 1),
    "on_its_side.jpg": (turned("JPEG", 6), 8),
    "on_its_head.jpg": (turned("JPEG", 3), 8),
    "mirrored.jpeg": (turned("JPEG", 5), 8),
    "on_its_side.png": (turned("PNG", 8), 0),
    "on_its_side.webp": (turned("WEBP", 6, lossless=True), 0),
}

# {name of the file: (bytes of a seed, what is said of it)}.
NAMED = {
    "moving.webp": (animated("WEBP"), "an animated WebP; save one picture of it"),
    "faint.png": (sixteen_bits(900), "16 bits a pixel, and none above 900: almost black in 8 bits; save it as 8 bits"),
    "empty.png": (lambda seed: b"", "empty file"),
    "cut.jpg": (cut("JPEG"), "corrupt image"),
    "cut.png": (cut("PNG"), "corrupt image"),
    "cut.tif": (cut("TIFF"), "corrupt image"),
    "text.png": (lambda seed: b"<html>not found</html>", "corrupt image"),
    "video.mp4": (lambda seed: b"\0\0\0 ftypisom", "not an image (.mp4)"),
    "notes.txt": (lambda seed: b"to do", "not an image (.txt)"),
}


def seen(contents):
    """What people see of it, by Pillow alone: uint8 [height, width, 3]."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(contents)))
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image) // 257).astype("uint8")[..., None], 3, axis=-1)
    image = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))


def write(root, classes=("cat", "dog"), seed=0):
    """A folder of classes with a file of every kind in each; {name from the folder: what is said of it}."""
    said = {}
    for c, kind in enumerate(classes):
        (root / kind).mkdir(parents=True)
        for k, (name, (make, _)) in enumerate({**READ, **NAMED}.items()):
            (root / kind / name).write_bytes(make(seed + 100 * c + k))
        said |= {f"{kind}/{name}": reason for name, (_, reason) in NAMED.items()}
    return said
