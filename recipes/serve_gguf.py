#!/usr/bin/env python3
"""Serve a GGUF file over an OpenAI-compatible API on this machine's CPU, with xllamacpp (llama.cpp).

    python recipes/serve_gguf.py MODEL.gguf [--port 8091] [--parallel 32] [--context 800]

`--parallel` requests are decoded together, each with `--context` tokens for prompt and answer. Ends with Ctrl-C.
Needs `pip install 'ponder[llamacpp]'`.
"""

import argparse
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", type=Path)
parser.add_argument("--port", type=int, default=8091)
parser.add_argument("--parallel", type=int, default=32)
parser.add_argument("--context", type=int, default=800)
parser.add_argument("--threads", type=int, default=1)
arguments = parser.parse_args()
if not arguments.model.exists():  # llama.cpp would abort the process without a word
    parser.error(f"{arguments.model}: no such file")

import xllamacpp  # noqa: E402 - after the arguments: it loads the whole library

params = xllamacpp.CommonParams()
params.model.path = str(arguments.model)
params.model_alias = {arguments.model.stem}
params.n_parallel = arguments.parallel
params.n_ctx = arguments.parallel * arguments.context
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = arguments.threads
params.n_threads_http = arguments.parallel + 4
params.port = arguments.port
params.hostnames = ["127.0.0.1"]
params.warmup = False
server = xllamacpp.Server(params)
print(f"{arguments.model.stem} at {server.listening_address}/v1", flush=True)
while True:
    time.sleep(3600)
