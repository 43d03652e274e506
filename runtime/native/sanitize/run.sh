#!/bin/sh
# Builds the driver under the sanitizers and runs it: AddressSanitizer with UndefinedBehaviorSanitizer, then
# ThreadSanitizer. Any finding ends the run with an error. Usage: runtime/native/sanitize/run.sh [build folder]
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$(mktemp -d)}
for sanitizers in address,undefined thread; do
    cmake -S "$source" -B "$build/$sanitizers" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DEENET_SANITIZE="$sanitizers"
    cmake --build "$build/$sanitizers" --target eenet_sanitize_driver
    echo "== $sanitizers"
    "$build/$sanitizers/eenet_sanitize_driver"
done
