#!/usr/bin/env bash
# Build the Apptainer image that NeMo training runs in. Running it again does nothing.
#
#   bash training/nemo/setup/setup_apptainer.sh [--force]
#
# Settings, from the environment:
#   NEMO_IMAGE       image on nvcr.io        (nvidia/nemo:25.09, which holds NeMo 2.5 with
#                                             megatron-core 0.14, what training/nemo is written for)
#   APPTAINER_IMAGE  the file to write       ($HOME/apptainer/nemo.sif; about 20 GB); name it in
#                                             environments.*.image of the site file
#   APPTAINER_TMPDIR, APPTAINER_CACHEDIR     Apptainer's own; each needs about 40 GB free
set -euo pipefail

image=${NEMO_IMAGE:-nvidia/nemo:25.09}
file=${APPTAINER_IMAGE:-$HOME/apptainer/nemo.sif}
force=no

fail() {
    printf 'error: %s. %s\n' "$2" "$3" >&2
    exit "$1"
}

case ${1:-} in
    '') ;;
    --force) force=yes ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
        exit 0
        ;;
    *) fail 2 "unknown argument $1" "Use --force to build the image anew, or nothing" ;;
esac

command -v apptainer >/dev/null ||
    fail 65 "apptainer is not on the PATH" \
        "Load its module, or run this on a node that has it (https://apptainer.org)"

if [ -s "$file" ] && [ "$force" = no ]; then
    printf 'image %s is there already\n' "$file"
    exit 0
fi

mkdir -p -- "$(dirname -- "$file")"
partial=$file.$$.partial
trap 'rm -f -- "$partial"' EXIT
printf 'building %s from nvcr.io; this takes a while\n' "$image"
apptainer build --force "$partial" "docker://nvcr.io/$image" ||
    fail 1 "the image could not be built from $image" \
        "Check the network, the tag, the room under APPTAINER_TMPDIR, and \`apptainer registry login\`"
mv -f -- "$partial" "$file"
printf 'image %s is ready\n' "$file"
