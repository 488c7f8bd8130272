#!/usr/bin/env bash
# Create the enroot container that NeMo training runs in. Running it again does nothing.
#
#   bash training/nemo/setup/setup_enroot.sh [--force]
#
# Settings, from the environment:
#   NEMO_IMAGE      image on nvcr.io           (nvidia/nemo:25.09, which holds NeMo 2.5 with
#                                              megatron-core 0.14, what training/nemo is written for)
#   CONTAINER_NAME  name of the container      (nemo_framework)
#   ENROOT_IMAGES   where the image is kept    ($HOME/enroot; about 20 GB)
#   ENROOT_DATA_PATH and the like are enroot's own: see its documentation.
set -euo pipefail

image=${NEMO_IMAGE:-nvidia/nemo:25.09}
name=${CONTAINER_NAME:-nemo_framework}
images=${ENROOT_IMAGES:-$HOME/enroot}
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
    *) fail 2 "unknown argument $1" "Use --force to create the container anew, or nothing" ;;
esac

command -v enroot >/dev/null ||
    fail 65 "enroot is not on the PATH" \
        "Load its module, or run this on a node that has it (https://github.com/NVIDIA/enroot)"

if enroot list | grep -Fxq -- "$name"; then
    if [ "$force" = no ]; then
        printf 'container %s is there already\n' "$name"
        exit 0
    fi
    enroot remove --force "$name"
fi

mkdir -p -- "$images"
file=$images/$(printf '%s' "$image" | tr '/:' '++').sqsh
if [ ! -s "$file" ]; then
    partial=$file.$$.partial
    trap 'rm -f -- "$partial"' EXIT
    printf 'importing %s from nvcr.io; this takes a while\n' "$image"
    enroot import --output "$partial" "docker://nvcr.io#$image" ||
        fail 1 "nvcr.io did not deliver $image" \
            "Check the network, the tag, and the nvcr.io line of \$HOME/.config/enroot/.credentials"
    mv -- "$partial" "$file"
fi

enroot create --name "$name" "$file" ||
    fail 1 "the container could not be created from $file" \
        "Make room under ENROOT_DATA_PATH, or delete the file to fetch it again"
enroot list | grep -Fxq -- "$name" || fail 1 "enroot does not list $name" "See enroot's messages above"
printf 'container %s is ready\n' "$name"
