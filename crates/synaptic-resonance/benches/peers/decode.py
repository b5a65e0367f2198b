"""One-token decoding in PyTorch: the peer of ../decode.rs.

    python decode.py --threads 1 [--compile] [--autocast]
    MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 python decode.py

The second form lets glibc keep freed memory, as the Rust side's allocator does: the fair bar.
"""

import numpy as np
import torch
from torch.nn import functional as F

import sr
from sr import peer

WIDTH, HEADS, LAYERS, WINDOW, VOCABULARY, SEGMENT, ROOM = 256, 4, 4, 64, 256, 256, 128
CONTEXTS = [256, 1024, 4096]


def tokens(context, count):
    """The tokens from `context` on."""
    return sr.ids(7, context + count, VOCABULARY)[context:]


class Arm:
    def __init__(self, name):
        self.full = name == "a9"
        self.model = sr.Model(name, VOCABULARY, WIDTH, LAYERS, HEADS, None if self.full else WINDOW)
        self.running = self.model.start(1)

    def read(self, context):
        """Goes on to the state after `context` tokens, the contexts rising."""
        if self.full:
            shape = (1, HEADS, context, WIDTH // HEADS)
            by = sr.rotations(torch.arange(context), WIDTH // HEADS)
            made = lambda name, i: torch.from_numpy(sr.numbers(f"{name}.{i}", *shape).astype(np.float32))
            layers = [{"keys": sr.rotate(made("keys", i), by), "values": made("values", i)} for i in range(LAYERS)]
            state = {"position": context, "layers": layers}
        else:
            while self.running["position"] < context:
                segment = tokens(self.running["position"], SEGMENT)[None]
                self.running = self.model.shorten(self.model(segment, self.running)[1])
            state = self.running
        self.prepared = self.model.cache(state, ROOM)

    def state(self):
        """A full cache is not copied: places past the position are free."""
        copy = (lambda x: x) if self.full else torch.clone
        layers = [{name: copy(x) for name, x in layer.items()} for layer in self.prepared["layers"]]
        return {"position": self.prepared["position"], "layers": layers}

    def decode(self, tokens):
        """The logits after each of the tokens."""
        state = self.state()
        return [self.model.step(token, state) for token in tokens.split(1)]


@torch.inference_mode()
def main():
    args = peer.start(30)
    for name in ["a0", "sr", "a9"]:
        arm = Arm(name)
        for context in CONTEXTS:
            arm.read(context)
            first, case = tokens(context, 4), f"{name}_{context}"
            # A window's network is the same after each context.
            with peer.first_calls(case, anew=context == CONTEXTS[0]):
                logits = torch.cat(arm.decode(first[:3])).float()
            peer.losses(case, F.cross_entropy(logits, first[1:], reduction="none").tolist())
            turn = tokens(context, 16)
            peer.ms(case, token=peer.median_ms(args.repeats, lambda _: arm.decode(turn)) / len(turn))


if __name__ == "__main__":
    main()
