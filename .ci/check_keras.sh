#!/usr/bin/env bash
# Which of Keras' private names (kzoo/keras_internals.py) broke on its nightly build, or on another version:
#   bash .ci/check_keras.sh [keras-nightly | keras==3.16.0]
# Beside the test suite, for it needs the network; where the build cannot be had it says NOT RUN.
set -uo pipefail
cd "$(dirname "$0")/.."
wanted="${1:-keras-nightly}"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" -c .ci/constraints.txt ".[dev]" || exit 1
"$folder/bin/python" -m pip uninstall --quiet --yes keras
if ! "${pip[@]}" --no-deps "$wanted" 2> "$folder/why"; then
  echo "NOT RUN: $wanted cannot be had: $(tail -1 "$folder/why")"
  exit 0
fi
"$folder/bin/python" -c "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import keras; print('Keras', keras.__version__)"
exec "$folder/bin/python" -m pytest -q tests/test_internals.py
