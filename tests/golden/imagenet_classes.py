"""The 1,000 classes of ImageNet (ILSVRC 2012) in the order of the networks' outputs: kzoo/weights/imagenet_classes.txt.

One `wnid name` a line: WordNet's ids from timm's list, the short names from torchvision's. A name that is not
among WordNet's words for its id is printed: two, which torchvision changed so that all names differ (crane bird,
maillot tank suit).

    pip install --no-deps timm==1.0.31 torchvision==0.28.0 torch==2.13.0
    python tests/golden/imagenet_classes.py
"""

import ast
import importlib.util
from pathlib import Path

FILE = Path(__file__).parents[2] / "kzoo" / "weights" / "imagenet_classes.txt"


def package(name: str) -> Path:
    """The folder of an installed package; nothing of it is run."""
    return Path(importlib.util.find_spec(name).origin).parent


def main() -> None:
    info = package("timm") / "data" / "_info"
    ids = (info / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    words = dict(
        line.split("\t") for line in (info / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    )
    tree = ast.parse((package("torchvision") / "models" / "_meta.py").read_text(encoding="utf-8"))
    lists = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    names = ast.literal_eval(lists["_IMAGENET_CATEGORIES"])
    assert len(ids) == len(names) == len(set(ids)) == 1000
    plain = lambda text: text.lower().replace("-", " ").replace("'", "").replace(" ", "")
    for wnid, name in zip(ids, names, strict=True):
        if plain(name) not in {plain(word) for word in words[wnid].split(", ")}:
            print(f"look: {wnid} is {words[wnid]!r} in WordNet, {name!r} in torchvision")
    FILE.write_text("".join(f"{i} {n}\n" for i, n in zip(ids, names, strict=True)), encoding="utf-8")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
