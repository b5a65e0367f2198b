"""One-token decoding in PyTorch: the peer of ../decode.rs, which starts it and takes turns with it.

Lines: `prepare arm context` makes the state after `context` tokens (a prefill; for full attention, a cache of fixed
numbers); `check arm context` gives the logits after three more tokens; `turn arm context tokens` the milliseconds a
token of that many more tokens, from the prepared state.
"""

import argparse
import time

import numpy as np
import torch

import sr

WIDTH, HEADS, LAYERS, WINDOW, VOCABULARY, SEGMENT, ROOM = 256, 4, 4, 64, 256, 256, 128


def tokens(context, count):
    """The tokens from `context` on."""
    drawn = (sr.numbers(7, context + count)[context:] * 0.5 + 0.5) * VOCABULARY
    return torch.from_numpy(drawn.astype("int64"))


class Arm:
    def __init__(self, name):
        self.full = name == "a9"
        self.model = sr.Model(name, VOCABULARY, WIDTH, LAYERS, HEADS, None if self.full else WINDOW)
        self.running = self.model.start(1)
        self.prepared = {}

    def prepare(self, context):
        if self.full:
            shape = (1, HEADS, context, WIDTH // HEADS)
            by = sr.rotations(torch.arange(context), WIDTH // HEADS)
            made = lambda name, i: torch.from_numpy(sr.numbers(sr.fnv1a(f"{name}.{i}"), *shape).astype(np.float32))
            layers = [{"keys": sr.rotate(made("keys", i), by), "values": made("values", i)} for i in range(LAYERS)]
            state = {"position": context, "layers": layers}
        else:
            while self.running["position"] < context:
                segment = tokens(self.running["position"], SEGMENT)[None]
                self.running = self.model.shorten(self.model(segment, self.running)[1])
            state = self.running
        self.prepared[context] = self.model.cache(state, ROOM)

    def state(self, context):
        """A full cache is not copied: places past the position are free."""
        prepared = self.prepared[context]
        copy = (lambda x: x) if self.full else torch.clone
        layers = [{name: copy(x) for name, x in layer.items()} for layer in prepared["layers"]]
        return {"position": prepared["position"], "layers": layers}

    def decode(self, context, count):
        state, logits = self.state(context), None
        ids = tokens(context, count).split(1)
        start = time.perf_counter()
        for token in ids:
            logits = self.model.step(token, state)
        return logits, (time.perf_counter() - start) * 1e3 / count


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    sr.machine(parser.parse_args().threads)
    arms = {}

    def answer(what, name, context, count=3):
        arm = arms[name] = arms.get(name) or Arm(name)
        if what == "prepare":
            arm.prepare(int(context))
            return "ready"
        logits, ms = arm.decode(int(context), int(count))
        return " ".join(f"{x:.6f}" for x in logits[0].tolist()) if what == "check" else f"{ms:.5f}"

    sr.serve(answer)


if __name__ == "__main__":
    main()
