#!/usr/bin/env bash
# Serves a GGUF file with llama.cpp on this machine's CPU and runs recipes/gsm8k-qwen.toml against it (about an hour on
# one core). A second call goes on where the first stopped.
#
#   bash recipes/gsm8k-qwen.sh MODEL.gguf [OUT]
#
# Needs `pip install 'ponder[llamacpp]'`, and GSM8K's test.jsonl in $PONDER_DATA/gsm8k/.
set -euo pipefail
model=${1:?give the path of qwen2.5-coder-0.5b-instruct.gguf}
out=${2:-runs/gsm8k-qwen}
here=$(dirname "$0")
: "${PYTHON:=python3}"
: "${PONDER_DATA:=$here/../../shared/data}"
export PONDER_DATA OMP_NUM_THREADS=1

"$PYTHON" "$here/serve_gguf.py" "$model" &
server=$!
trap 'kill $server' EXIT
for _ in $(seq 60); do
    curl -fs http://127.0.0.1:8091/health >/dev/null && break
    sleep 1
done
"$PYTHON" -m ponder eval "$here/gsm8k-qwen.toml" --out "$out" --resume
