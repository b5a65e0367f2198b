"""The score network in PyTorch: the peer of ../unet.rs, and the source of
../../tests/fixtures/unet.json.

Same network (see src/net/unet.rs), same numbers, same loss, Adam, gradient clipping and averaged
weights. Parameters are filled from a generator that both sides have, keyed by the parameter's path.

    python unet.py --threads 1 [--compile] [--autocast]
    MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 python unet.py
    python unet.py --golden ../../tests/fixtures/unet.json

The second form lets glibc keep freed memory, as the Rust side's allocator does: the fair bar.
"""

import json
import math
import os
import sys

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../../core/benches/peers"))
import peer  # noqa: E402

FREQUENCIES, LOWEST, HIGHEST, GROUP = 16, 1.0, 32.0, 4


class Lcg(peer.Lcg):
    def tensor(self, *shape):
        """Numbers in [-1, 1)."""
        return torch.from_numpy(self.signed(math.prod(shape))).reshape(shape)


def values(path, parameter):
    """The parameter's values by its path. Linear weights are [in, out] on the Rust side."""
    shape = list(parameter.shape)
    if len(shape) == 2:
        shape.reverse()
    numbers = Lcg(peer.fnv1a(path)).tensor(*shape)
    if path.endswith("gain"):
        return 1.0 + 0.2 * numbers
    if path.endswith("bias"):
        return 0.2 * numbers
    inputs = shape[0] if len(shape) == 2 else math.prod(shape[1:])
    numbers = numbers * math.sqrt(3.0 / inputs)
    return numbers.T if len(shape) == 2 else numbers


class NormSilu(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return F.silu(F.group_norm(x, x.shape[1] // GROUP, self.gain, self.bias, 1e-5))


class Block(nn.Module):
    def __init__(self, inputs, outputs, embedding):
        super().__init__()
        self.norm = NormSilu(inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1)
        else:
            self.shortcut = nn.Identity()

    def forward(self, x, embedding):
        inside = self.first(self.norm(x))
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, 1)
        inside = F.group_norm(inside, inside.shape[1] // GROUP, None, None, 1e-5)
        inside = self.second(F.silu(torch.addcmul(shift, inside, scale + 1.0)))
        return self.shortcut(x) + inside


class Level(nn.Module):
    def __init__(self, halve, blocks):
        super().__init__()
        self.halve = halve
        self.blocks = nn.ModuleList(blocks)


class UNet(nn.Module):
    def __init__(self, base, multipliers, channels=1):
        super().__init__()
        widths, embedding = [base * m for m in multipliers], 4 * base
        self.embed = nn.Linear(2 * FREQUENCIES, embedding)
        self.embed_out = nn.Linear(embedding, embedding)
        self.input = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            halve = nn.Conv2d(widths[i - 1], width, 3, stride=2, padding=1) if i else None
            self.down.append(Level(halve, [Block(width, width, embedding)]))
        self.middle = Block(widths[-1], widths[-1], embedding)
        self.up = nn.ModuleList()
        for i in reversed(range(len(widths) - 1)):
            self.up.append(Level(None, [Block(widths[i + 1] + widths[i], widths[i], embedding)]))
        self.norm = NormSilu(widths[0])
        self.output = nn.Conv2d(widths[0], channels, 3, padding=1)
        ratio = (HIGHEST / LOWEST) ** (1.0 / (FREQUENCIES - 1))
        frequencies = [LOWEST * ratio**i for i in range(FREQUENCIES)]
        self.register_buffer("frequencies", torch.tensor(frequencies, dtype=torch.float64))

    def forward(self, x, noise):
        phase = noise[:, None] * self.frequencies
        features = torch.cat([phase.cos(), phase.sin()], 1)
        embedding = F.silu(self.embed_out(F.silu(self.embed(features))))
        x = self.input(x)
        skips = []
        for level in self.down:
            if level.halve is not None:
                x = level.halve(x)
            x = level.blocks[0](x, embedding)
            skips.append(x)
        x = self.middle(x, embedding)
        for level, skip in zip(self.up, reversed(skips[:-1])):
            height, width = skip.shape[2:]
            x = F.interpolate(x, scale_factor=2, mode="nearest")[:, :, :height, :width]
            x = level.blocks[0](torch.cat([x, skip], 1), embedding)
        return self.output(self.norm(x))


class Edm(nn.Module):
    def __init__(self, unet, side, sd_data, dtype):
        super().__init__()
        self.unet, self.side, self.q, self.dtype = unet, side, sd_data, dtype
        self.to(dtype)
        with torch.no_grad():
            for path, parameter in self.named_parameters():
                parameter.copy_(values(path, parameter))

    def forward(self, y, sds):
        """y [n, pixels], sds [n] in f64."""
        total = sds**2 + self.q**2
        column = lambda c: c.to(self.dtype)[:, None]
        x = (y * column(total.rsqrt())).reshape(len(y), 1, *self.side)
        net = self.unet(x, (sds.log() / 4.0).to(self.dtype)).reshape(y.shape)
        return y * column(self.q**2 / total) + net * column(sds * self.q / total.sqrt())

    def loss(self, y0, sds, eps):
        sd = sds.to(self.dtype)[:, None]
        weight = (1.0 / sds**2 + 1.0 / self.q**2).sqrt().to(self.dtype)[:, None]
        return (((self(y0 + eps * sd, sds) - y0) * weight) ** 2).mean()


def batch(index, n, pixels, dtype):
    lcg = Lcg(100 + index)
    sds = (-2.0 + 2.0 * lcg.tensor(n)).exp()
    y0 = 0.38 * lcg.tensor(n, pixels)
    eps = math.sqrt(3.0) * lcg.tensor(n, pixels)
    return y0.to(dtype), sds, eps.to(dtype)


class Arm:
    def __init__(self, edm, lr, clip):
        self.clip = clip
        self.edm, self.loss = peer.network(edm), peer.network(edm.loss)
        self.parameters = list(edm.parameters())
        self.adam = torch.optim.Adam(self.parameters, lr=lr, eps=1e-8, fused=True)
        self.average = [p.detach().clone() for p in self.parameters]
        self.steps = 0

    def step(self, y0, sds, eps):
        self.adam.zero_grad(set_to_none=True)
        loss = self.loss(y0, sds, eps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.adam.step()
        decay = min(0.999, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1.0 - decay)
        self.steps += 1
        return float(loss.detach())

    @torch.inference_mode()
    def call(self, y, sd):
        return self.edm(y, torch.full((1,), sd, dtype=torch.float64))

    def sample(self, y):
        levels = [10.0 * (0.02 / 10.0) ** (i / 19) for i in range(20)] + [0.0]
        for a, b in zip(levels, levels[1:]):
            d = self.call(y, a)
            y = d + (y - d) * (b / a)
        return y


def golden(file):
    """A small network in f64: values, gradients (as products with a vector), losses of five steps."""
    edm = Edm(UNet(4, [1, 2, 2]), (7, 6), 0.3, torch.float64)
    y0, sds, eps = batch(0, 3, 42, torch.float64)
    denoised = edm(y0 + eps * sds[:, None], sds)
    loss = edm.loss(y0, sds, eps)
    loss.backward()
    gradients = {}
    for path, p in edm.named_parameters():
        grad = p.grad.T if p.dim() == 2 else p.grad
        gradients[path] = float((grad * Lcg(peer.fnv1a("probe." + path)).tensor(*grad.shape)).sum())
    out = {"source": f"PyTorch {torch.__version__}, f64, by benches/peers/unet.py"}
    out |= {"loss": float(loss.detach()), "denoised": denoised.flatten().tolist()}
    out["gradients"] = [gradients[path] for path in sorted(gradients)]
    arm = Arm(edm, 1e-2, 0.5)
    out["losses"] = [arm.step(*batch(i, 3, 42, torch.float64)) for i in range(5)]
    with torch.no_grad():
        for parameter, average in zip(arm.parameters, arm.average):
            parameter.copy_(average)
        out["loss_of_average"] = float(edm.loss(y0, sds, eps))
    with open(file, "w") as handle:
        json.dump(out, handle, indent=1)
        handle.write("\n")


def main():
    def more(parser):
        parser.add_argument("--channels-last", action="store_true")
        parser.add_argument("--golden")

    args = peer.start(30, more)
    if args.golden:
        return golden(args.golden)
    memory_format = torch.channels_last if args.channels_last else torch.contiguous_format
    batches = [batch(i, 64, 196, torch.float32) for i in range(3)]
    for base, multipliers in [(16, [1, 2]), (8, [1, 2, 4])]:
        name = f"{base}x{'-'.join(map(str, multipliers))}"
        edm = Edm(UNet(base, multipliers), (14, 14), 0.22, torch.float32)
        arm = Arm(edm.to(memory_format=memory_format), 1e-3, 1.0)
        y = batches[0][2]
        with peer.first_calls(name):
            peer.losses(name, [arm.step(*b) for b in batches])
            arm.call(y, 0.5)
        step = peer.median_ms(args.repeats, lambda i: arm.step(*batches[i % 3]))
        call = peer.median_ms(args.repeats, lambda _: arm.call(y, 0.5))
        sample20 = peer.median_ms(-(-args.repeats // 6), lambda _: arm.sample(y * 10.0))
        peer.ms(name, step=step, call=call, sample20=sample20)


if __name__ == "__main__":
    main()
