#!/usr/bin/env bash
# scikit-image 0.26.0: random_noise(mode="poisson") takes its strength from the number of distinct values in the
# image.
#
# Seen: an image of the two values 0.4 and 0.6 gets noise of variance 0.25 at a mean of 0.5. One pixel among
# 262,144 set to a third value, and the variance is 0.125 everywhere; the same mean in 256 grey levels gives
# 0.002. The count of distinct values, rounded up to a power of two, is taken as the number of photons at
# intensity 1, so the variance is intensity divided by it.
# One would guess: intensities mean what they mean, and the noise of a pixel depends on that pixel (and on a
# peak or exposure that the caller gives).
# Why it matters: denoisers are compared on images with simulated shot noise. Whether a picture was stored in 8
# bits, resized (which makes new values), masked or padded changes how noisy the benchmark is, 128 times in
# variance here, and two images of one set are noisy unlike. Mend: rng.poisson(peak * image) / peak with a peak
# that is written down.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 scikit-image==0.26.0

cat > "$dir/see.py" <<'PY'
import numpy as np
import skimage
from skimage.util import random_noise


def variance(image):
    return (random_noise(image, mode="poisson", rng=1, clip=False) - image).var()


draw = np.random.default_rng(0)
two = draw.choice([0.4, 0.6], size=(512, 512))
three = two.copy()
three[0, 0] = 0.5
many = draw.choice(np.linspace(0, 1, 256), size=(512, 512))
print("scikit-image", skimage.__version__)
for name, image, levels in [("2 values", two, 2), ("3 values", three, 4), ("256 values", many, 256)]:
    found = variance(image)
    print(f"{name}: mean {image.mean():.3f}, variance of the noise {found:.5f}, mean / {levels} is {image.mean() / levels:.5f}")
    assert abs(found / (image.mean() / levels) - 1) < 0.05, "the strength no longer follows the number of values"
PY
"$dir/venv/bin/python" "$dir/see.py"
echo "as described"
