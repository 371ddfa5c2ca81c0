"""Looking at models and runs: the table of layers (`summary`), the card (`card`, which needs no Keras), `pictures`."""
