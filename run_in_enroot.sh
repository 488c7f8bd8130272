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

# The same as in job_templates/base.sh.j2
read_env_file() {  # FILE: export its KEY=VALUE lines; nothing in them is evaluated
  local line key value number=0 mode
  [[ -e $1 ]] || return 0
  mode=$(stat -L -c %a -- "$1")
  [[ $mode == 600 || $mode == 400 ]] ||
    die 65 "$1 holds keys and its mode is $mode, not 600. Run: chmod 600 $1"
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
    if ! [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]]; then
      printf 'warning: line %d of %s is not KEY=VALUE and is passed over\n' "$number" "$1" >&2
      continue
    fi
    key=${BASH_REMATCH[2]} value=${BASH_REMATCH[3]}
    case $value in
      \"*\"*) value=${value#\"} value=${value%%\"*} ;;
      \'*\'*) value=${value#\'} value=${value%%\'*} ;;
      *) value=${value%%[[:space:]]#*} value=${value%"${value##*[![:space:]]}"} ;;
    esac
    [[ -n $value && -z ${!key:-} ]] || continue  # what is set already wins
    export "$key=$value"
    ENV_NAMES+=("$key")
  done <"$1"
}

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
names=(
  HF_TOKEN WANDB_API_KEY HF_HUB_OFFLINE TRANSFORMERS_OFFLINE
  WANDB_MODE WANDB_PROJECT WANDB_ENTITY WANDB_RUN_GROUP
  CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES
  NCCL_DEBUG NCCL_IB_HCA NCCL_SOCKET_IFNAME GLOO_SOCKET_IFNAME TORCH_ELASTIC_SHUTDOWN_TIMEOUT
  OMP_NUM_THREADS PIPELINE_PROGRESS
)
names+=(${ENV_NAMES[@]+"${ENV_NAMES[@]}"})
for name in "${names[@]}"; do  # by name: a value in argv would be for all to see
  [[ -z ${!name:-} ]] || container+=(--env "$name")
done
exec "${container[@]}" "$IMAGE" bash -c 'cd /workspace && exec "$@"' bash "$@"
