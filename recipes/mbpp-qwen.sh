#!/usr/bin/env bash
# Serves a GGUF file with llama.cpp on this machine's CPU and runs recipes/mbpp-qwen.toml against it (about half an hour on
# two cores; THREADS=1 for one). A second call goes on where the first stopped. Programs run in ponder's sandbox.
#
#   bash recipes/mbpp-qwen.sh MODEL.gguf [OUT]
#
# Needs `pip install 'ponder[llamacpp,code]'`, and MBPP's mbpp.json in $PONDER_DATA/mbpp/.
set -euo pipefail
model=${1:?give the path of qwen2.5-coder-0.5b-instruct.gguf}
out=${2:-runs/mbpp-qwen}
here=$(dirname "$0")
: "${PYTHON:=python3}"
: "${SERVER:=$PYTHON}"
: "${THREADS:=2}"
: "${PONDER_DATA:=$here/../../shared/data}"
export PONDER_DATA OMP_NUM_THREADS=1

"$SERVER" "$here/serve_gguf.py" "$model" --port 8092 --threads "$THREADS" &
server=$!
trap 'kill $server' EXIT
for _ in $(seq 60); do
    curl -fs http://127.0.0.1:8092/health >/dev/null && break
    sleep 1
done
"$PYTHON" -m ponder eval "$here/mbpp-qwen.toml" --out "$out" --resume
