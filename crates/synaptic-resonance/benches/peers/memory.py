"""The memory's rule in PyTorch: the peer of ../memory.rs. Of the two inverses, block doubling (section 5.3 b) and
`torch.linalg.solve_triangular`, the faster counts.

    python memory.py --threads 1 [--compile]
    MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 python memory.py

The second form lets glibc keep freed memory, as the Rust side's allocator does: the fair bar.
"""

import numpy as np
import torch

import sr
from sr import peer

BATCH, TIME, HEADS, CHUNK = 8, 256, 2, 32


class Operands:
    def __init__(self, width):
        rows = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
        wide, narrow = (BATCH, TIME, HEADS, width), (BATCH, TIME, HEADS)
        values = {
            "q": rows(sr.numbers("q", *wide)),
            "k": rows(sr.numbers("k", *wide)),
            "v": sr.numbers("v", *wide),
            "beta": 0.5 + 0.5 * sr.numbers("beta", *narrow),
            "log_a": -0.1 - 0.1 * sr.numbers("log_a", *narrow),
        }
        self.inputs = {name: torch.from_numpy(x.astype(np.float32)) for name, x in values.items()}
        self.tracked = {name: x.clone().requires_grad_() for name, x in self.inputs.items()}
        self.weight = torch.from_numpy(sr.numbers("weight", *wide).astype(np.float32))
        self.s = torch.zeros(BATCH, HEADS, width, width)
        self.read_outs, self.loss = peer.compiled(self.forward), peer.compiled(self.weighed)

    def forward(self, inputs, inverse):
        heads_first = [x.transpose(1, 2) for x in inputs.values()]
        return sr.chunked(*heads_first, self.s, CHUNK, inverse)[0].transpose(1, 2)

    def weighed(self, inputs, inverse):
        return (self.forward(inputs, inverse) * self.weight).sum()

    def both(self, inverse):
        return torch.autograd.grad(self.loss(self.tracked, inverse), list(self.tracked.values()))

    def run(self, inverse, backward):
        if backward:
            return self.both(inverse)
        with torch.inference_mode():
            return self.read_outs(self.inputs, inverse)

    def distances(self):
        """How far the read-outs and each gradient lie from fixed numbers, as root mean squares."""
        tensors = [self.run("doubling", False), *self.both("doubling")]
        return [peer.distance(x) for x in tensors]


def main():
    args = peer.start(30, network=False)
    inverses = ["doubling", "solve"]
    for width in [16, 32, 64]:
        operands = Operands(width)
        faster = lambda backward: min(
            peer.median_ms(args.repeats, lambda _: operands.run(inverse, backward)) for inverse in inverses
        )
        with peer.first_calls(f"d{width}"):
            distances = operands.distances()
            for inverse in inverses:
                operands.run(inverse, False)
                operands.run(inverse, True)
        forward, both = faster(False), faster(True)
        # One measurement for both of ours.
        for way in ["fused", "chunked"]:
            peer.losses(f"{way}_d{width}", distances)
            peer.ms(f"{way}_d{width}", forward=forward, both=both)


if __name__ == "__main__":
    main()
