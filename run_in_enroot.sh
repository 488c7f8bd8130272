#!/bin/bash
# Run any command in the training container, with the mounts and variables that jobs have there:
# the project at /workspace (where the command starts) and the log directory at /logs.
#
#   ./run_in_enroot.sh python training/nemo/run_cpt.py --max-steps 10000 ...
#
# Settings, from the environment or .env:
#   LOG_DIR         host directory for /logs  (log_dir of sites/default.yaml, else jobs/logs here)
#   CONTAINER_NAME  the container             (nemo_framework)
set -euo pipefail

PROJECT_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
HOST=${HOSTNAME:-unknown}

die() {  # CODE MESSAGE
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

case ${1:-} in
  '' | -h | --help)
    while IFS= read -r line && [[ $line != set* ]]; do
      [[ $line != '# '* && $line != '#' ]] || printf '%s\n' "${line#\#}"
    done <"${BASH_SOURCE[0]}"
    [[ -n ${1:-} ]] || exit 2
    exit 0
    ;;
esac
cd -- "$PROJECT_DIR"

# shellcheck source=job_templates/env_file.sh
. job_templates/env_file.sh  # read_env_file, as jobs have it

ENV_NAMES=()
{ set +x; } 2>/dev/null  # even under `bash -x`, no key gets into a log
read_env_file .env

IMAGE=${CONTAINER_NAME:-nemo_framework}
if [[ -z ${LOG_DIR:-} && -f sites/default.yaml ]]; then
  while IFS= read -r line; do
    [[ $line =~ ^log_dir:[[:space:]]*(\'(.*)\'|([^\'\"#[:space:]]+))[[:space:]]*(#.*)?$ ]] || continue
    LOG_DIR=${BASH_REMATCH[2]:-${BASH_REMATCH[3]}}
    LOG_DIR=${LOG_DIR//\'\'/\'}
  done <sites/default.yaml
fi
LOG_DIR=${LOG_DIR:-jobs/logs}
[[ $LOG_DIR == /* ]] || LOG_DIR=$PROJECT_DIR/$LOG_DIR
[[ $PROJECT_DIR$LOG_DIR != *[[:space:]:,]* ]] ||
  die 65 "enroot mounts no path with a space, ':' or ',': $PROJECT_DIR and $LOG_DIR. Move it, or use a link without them"

# The same as in job_templates/containers/enroot.sh.j2
command -v enroot >/dev/null ||
  die 65 "enroot is not on $HOST. Log in to a node that has it"
if [[ ! -f $IMAGE ]]; then  # a container's name, not a .sqsh file
  found=
  while IFS= read -r name; do
    [[ $name != "$IMAGE" ]] || found=1
  done < <(enroot list)
  [[ -n $found ]] ||
    die 65 "container $IMAGE is not on $HOST. Re-run training/nemo/setup/setup_enroot.sh"
fi
mkdir -p -- "$LOG_DIR"
container=(enroot start --root --rw --mount "$PROJECT_DIR:/workspace" --mount "$LOG_DIR:/logs")
# shellcheck source=job_templates/containers/names.sh
. job_templates/containers/names.sh  # names=(...), as jobs have them
names+=(${ENV_NAMES[@]+"${ENV_NAMES[@]}"})
for name in "${names[@]}"; do  # by name: a value in argv would be for all to see
  [[ -z ${!name:-} ]] || container+=(--env "$name")
done
exec "${container[@]}" "$IMAGE" bash -c 'cd /workspace && exec "$@"' bash "$@"
