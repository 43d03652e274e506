#!/bin/sh
# One study: segment it, and store the results in Orthanc. Called by eenet.lua with the study's identifier.
#   EENET_SPOOL    as for eenet.lua
#   EENET_MODEL    a bundle
#   EENET_RUN      the program (default: eenet-run)
#   ORTHANC_URL    default: the text of $EENET_SPOOL/orthanc-url, else http://127.0.0.1:8042
set -eu
id=$1
results=$EENET_SPOOL/$id.results
archive=$EENET_SPOOL/$id.zip
url=${ORTHANC_URL:-$(cat "$EENET_SPOOL/orthanc-url" 2>/dev/null || echo http://127.0.0.1:8042)}
# One at a time: a study takes every processor and more than a gigabyte of memory.
exec 9>"$EENET_SPOOL/lock"
flock 9
trap 'rm -f "$archive"' EXIT
[ -f "$archive" ] || exit 0
if ! "${EENET_RUN:-eenet-run}" infer dicom "$archive" "$results" --model "$EENET_MODEL" --quiet; then
  echo "study $id: refused"
  exit 3
fi
# The report is written last: where it is, the objects are whole.
[ -f "$results/report.json" ] || exit 3
for object in "$results"/*.dcm; do
  curl --silent --show-error --fail --retry 5 --retry-connrefused --output /dev/null \
    --data-binary "@$object" "$url/instances"
done
echo "study $id: done"
