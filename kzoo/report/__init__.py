"""Looking at models and runs: the table of layers (`summary`), the card (which needs no Keras), pictures."""

from kzoo.lazy import lazily

__getattr__, __dir__ = lazily(
    __name__,
    shown="Picture Shown Text",
    table="Summary summary writable",
    card="model_card",
    plane="projected",
)
