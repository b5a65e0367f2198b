#!/usr/bin/env bash
# diffusers 0.42.1: with as many steps as the training had, DPM-Solver returns NaN.
#
# Seen: DPMSolverMultistepScheduler of 1,000 training steps, with the exact noise prediction of data that are standard
# normal. At 50 and at 500 steps the samples are finite, with a standard deviation within 4% of 1. At 1,000 steps all
# of them are NaN, without an error or a warning. The default spacing rounds 1,001 points between 0 and 999, so that
# one time step stands twice in the list; between the two the noise does not change, and the multistep formula divides
# 0 by 0. With timestep_spacing="trailing" the list has no repetition and 1,000 steps are fine.
# One would guess: more steps are slower and better, up to the number that the model was trained with, which is the
# natural choice where one wants the best that it can do.
# Why it matters: an error curve over the number of steps, or a reference at full length, ends in black images, and
# a metric that ignores NaN, or an image format that turns it into 0, hides why. Mend: that spacing, or fewer steps.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.15.0 diffusers==0.42.1

cat > "$dir/see.py" <<'PY'
import warnings
from importlib.metadata import version

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler


def samples(steps, **options):
    """Samples by the exact noise prediction of standard normal data, and the repeated time steps of the list."""
    scheduler = DPMSolverMultistepScheduler(num_train_timesteps=1000, **options)
    scheduler.set_timesteps(steps)
    x = torch.randn(4096, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        # Nothing is said of the division by 0.
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", UserWarning)
        for t in scheduler.timesteps:
            noise = (1 - scheduler.alphas_cumprod[int(t)]).sqrt() * x
            x = scheduler.step(noise, t, x).prev_sample
    times = scheduler.timesteps.tolist()
    return x, len(times) - len(set(times))


print("diffusers", version("diffusers"), "torch", torch.__version__)
for steps in (50, 500):
    x, repeated = samples(steps)
    print(f"{steps} steps: {repeated} repeated, standard deviation {x.std().item():.3f}")
    assert repeated == 0 and abs(x.std().item() - 1) < 0.04, "fewer steps are no longer right"
x, repeated = samples(1000)
print(f"1000 steps: {repeated} repeated, {torch.isnan(x).float().mean().item():.0%} NaN")
assert repeated == 1 and torch.isnan(x).all(), "as many steps as the training had no longer give NaN"
x, repeated = samples(1000, timestep_spacing="trailing")
print(f"1000 steps, trailing: {repeated} repeated, standard deviation {x.std().item():.3f}")
assert repeated == 0 and abs(x.std().item() - 1) < 0.04, "the mend no longer works"
PY
"$dir/venv/bin/python" "$dir/see.py"
echo "as described"
