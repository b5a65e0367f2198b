"""One-token decoding by llama.cpp on the real file: the peer of ../decode_blocks.rs.

    pip install llama-cpp-python
    python llama.py SmolLM2-135M-Instruct.Q4_1.gguf

It takes 1,000 tokens in, then one token after the other, with one and with two threads. Its attention sees all of them;
it rounds what it multiplies to 8 bits.
"""

import argparse
import statistics
import time

import llama_cpp

CONTEXT = 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--repeats", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    args = parser.parse_args()
    print(f"machine: llama-cpp-python {llama_cpp.__version__}")
    for threads in args.threads:
        model = llama_cpp.Llama(
            args.model, n_ctx=2048, n_threads=threads, n_threads_batch=threads, logits_all=False, verbose=False
        )
        tokens = [i * 7919 % model.n_vocab() for i in range(CONTEXT)]
        start = time.perf_counter()
        model.eval(tokens)
        prefill = time.perf_counter() - start
        times = []
        for i in range(args.repeats):
            start = time.perf_counter()
            model.eval([i])
            times.append((time.perf_counter() - start) * 1e3)
        ms = statistics.median(times)
        print(f"llama_t{threads} ms token {ms:.4f}")
        print(f"llama_t{threads} tokens/s prefill {CONTEXT / prefill:.1f} decode {1e3 / ms:.1f}", flush=True)


if __name__ == "__main__":
    main()
