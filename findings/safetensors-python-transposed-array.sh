#!/usr/bin/env bash
# safetensors 0.8.0 (Python, NumPy front end): a transposed array is saved wrong, without a word.
#
# Seen: save() of a 3 x 2 view (the transpose of a 2 x 3 array) writes the bytes of the memory below it, in
# the order in which they lie there, under the shape of the view. Loaded again, [[0,3],[1,4],[2,5]] has become
# [[0,1],[2,3],[4,5]]. The same holds of an array in Fortran order. 0.7.0 wrote the right values.
# One would guess: the values that the array shows, as numpy.save writes them, or an error.
# Why it matters: weights of linear layers are stored transposed by one framework and not by another, so a
# script that converts them ends in `.T`. Shapes agree with what the reader expects, no check of a reader can
# see the fault, and the model only answers badly. Mend: numpy.ascontiguousarray before saving.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 safetensors==0.8.0

cat > "$dir/see.py" <<'PY'
import numpy as np
import safetensors
from safetensors.numpy import load, save


def round_trip(array):
    return load(save({"x": array}))["x"].tolist()


memory = np.arange(6, dtype=np.float32).reshape(2, 3)
view = memory.T
assert not view.flags["C_CONTIGUOUS"]
print("safetensors", safetensors.__version__, "numpy", np.__version__)
print("saved ", view.tolist())
print("loaded", round_trip(view))
assert round_trip(view) == [[0, 1], [2, 3], [4, 5]], "a transposed view is no longer saved as its memory lies"
fortran = np.asfortranarray(memory)
print("saved ", fortran.tolist(), "in Fortran order")
print("loaded", round_trip(fortran))
assert round_trip(fortran) == [[0, 3, 1], [4, 2, 5]], "Fortran order is no longer saved as its memory lies"
assert round_trip(np.ascontiguousarray(view)) == view.tolist(), "the mend no longer works"
PY
"$dir/venv/bin/python" "$dir/see.py"

"$dir/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.7.0
"$dir/venv/bin/python" - <<'PY'
import numpy as np
from safetensors.numpy import load, save

view = np.arange(6, dtype=np.float32).reshape(2, 3).T
assert load(save({"x": view}))["x"].tolist() == view.tolist(), "0.7.0 was right"
print("0.7.0 loads what was saved")
PY
echo "as described"
