#!/bin/bash -l
# train_vanilla
#
# By hand: bash jobs/run_cpt_baseline.sh
# Written by `pipeline render` from job_templates/; change those or the site file, not this one.
# What it does, step by step: docs/scripts.md
#LOCAL --cpus 64 --walltime 172800
#LOCAL --workdir '/scratch/me/pipeline'
#LOCAL --output '/scratch/logs/jobs/train_vanilla/scheduler'

JOB='train_vanilla'
DIGEST=2c87748424ad999963895c20e40d69d88e4562dd3b6dd681a323a7dadcd01908
PROJECT_DIR='/scratch/me/pipeline'
STATE_DIR='jobs'
WALLTIME=172800  # seconds
HOST=${HOSTNAME:-unknown}

die() {  # CODE MESSAGE
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

# --- 1. Identity: which task this is, and under which id the scheduler knows it
JOB_ID=${LOCAL_JOB_ID:-}
TASK=1
printf -v TASK4 '%04d' "$TASK"
: "$TASK4"  # for argv; not every program takes it
QUEUED=$JOB_ID  # empty by hand
JOB_ID=${JOB_ID:-manual-$HOST-$$}
JOB_ID=${JOB_ID//[!A-Za-z0-9._\[\]-]/_}

cd -- "$PROJECT_DIR" ||
  die 65 "$HOST cannot enter the project directory $PROJECT_DIR. Is it mounted here? The site file names it (project_dir)"

# Under a scheduler all output goes to one log a task and attempt, live and under the same name
# everywhere; what the scheduler keeps itself may come late, or not at all. By hand it stays here.
LOGS='/scratch/logs/jobs/train_vanilla'
if [[ -n $QUEUED ]] && mkdir -p -- "$LOGS" && : >>"$LOGS/$TASK.$JOB_ID.log"; then
  exec >>"$LOGS/$TASK.$JOB_ID.log" 2>&1
fi

# --- 2. Receipts: one file says that this task runs, another how it ended
RECEIPTS=$STATE_DIR/receipts/$JOB
RECEIPT=$TASK.$JOB_ID
START=$(date +%s)
GATE=      # what a closed gate waits for
CAUGHT=    # number of the last signal that this script got
KNOWN=     # what CAUGHT was when the last command had ended
WOKEN=     # set when a signal interrupts `wait`
STARTED=   # set once the payload is about to start
PAYLOAD_PID=

json() {  # TEXT: as a JSON string
  local text=${1//[[:cntrl:]]/ }
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "$text"
}

write_receipt() {  # SUFFIX MORE-JSON: to a temporary file, synced, renamed
  local name=$RECEIPT.$1 attempt=${PIPELINE_ATTEMPT:-0}
  [[ $attempt =~ ^[0-9]{1,9}$ ]] || attempt=0
  (
    trap '' XFSZ  # over a file size limit, a message and not a dead shell
    printf '{"job": %s, "task": %d, "id": %s, "token": %s, "attempt": %d, "digest": "%s", "host": %s, "pid": %d, "start": %d, "walltime": %d%s}\n' \
      "$(json "$JOB")" "$TASK" "$(json "$JOB_ID")" "$(json "${PIPELINE_TOKEN:-}")" "$attempt" \
      "$DIGEST" "$(json "$HOST")" "$$" "$START" "$WALLTIME" "$2" >"$RECEIPTS/.$name.tmp" &&
      sync -- "$RECEIPTS/.$name.tmp" &&
      mv -f -- "$RECEIPTS/.$name.tmp" "$RECEIPTS/$name"
  ) && { sync -- "$RECEIPTS" 2>/dev/null || true; } && return 0  # not every file system needs that
  rm -f -- "$RECEIPTS/.$name.tmp"
  return 1
}

# shellcheck disable=SC2317,SC2329  # traps call it
finish() {  # the EXIT trap
  local code=$? signal=null suffix=ok gate=
  set +e
  trap '' TERM INT HUP USR1 USR2
  ((code == 0)) || suffix=fail-$code
  ((code <= 128 || code > 192)) || signal=$((code - 128))
  signal=${CAUGHT:-$signal}
  [[ -z $GATE ]] || gate=", \"gate\": $(json "$GATE")"
  if write_receipt "$suffix" ", \"end\": $(date +%s), \"exit\": $code, \"signal\": $signal$gate"; then
    rm -f -- "$RECEIPTS/$RECEIPT.run"
  else
    printf 'error: %s/%s.%s cannot be written, so nobody will know how task %d ended. Free some space there and run it again\n' \
      "$RECEIPTS" "$RECEIPT" "$suffix" "$TASK" >&2
    ((code)) || code=74
  fi
  trap - EXIT
  exit "$code"
}

# shellcheck disable=SC2317,SC2329
on_signal() {  # NAME NUMBER: pass it on to the payload, or leave when there is none yet
  CAUGHT=$2
  WOKEN=$1
  [[ -n $STARTED ]] || exit $((128 + $2))
  [[ -z $PAYLOAD_PID ]] || kill -s "$1" "$PAYLOAD_PID" 2>/dev/null || true
}

mkdir -p -- "$RECEIPTS" ||
  die 74 "$PWD/$RECEIPTS cannot be made on $HOST. Free some space there, or correct its owner"
trap finish EXIT
trap 'on_signal TERM 15' TERM
trap 'on_signal TERM 2' INT  # bash starts background programs with INT ignored
trap 'on_signal HUP 1' HUP
trap 'on_signal TERM 10' USR1  # USR1 and USR2 would kill the launcher and orphan its processes
trap 'on_signal TERM 12' USR2
write_receipt run '' ||
  die 74 "$PWD/$RECEIPTS cannot be written on $HOST. Free some space there, or correct its owner"
rm -f -- "$RECEIPTS/$RECEIPT".ok "$RECEIPTS/$RECEIPT".fail-*  # of this id before it was requeued

# --- 3. Gate: the newest receipt of every upstream task must be one of success
made_by_hand() {  # TASKS OUTPUT...: whether all outputs of a job without any receipt are there
  local tasks=$1 output four t
  shift
  (($#)) || return 1
  for output; do
    for ((t = 1; t <= tasks; t++)); do
      printf -v four '%04d' "$t"
      [[ -e ${output//'{task4}'/$four} ]] || return 1
      [[ $output == *'{task4}'* ]] || break
    done
  done
}

attempt_of() {  # RECEIPT: sets ATTEMPT to the number in it, 0 of a run by hand
  local line=
  IFS= read -r line 2>/dev/null <"$1" || true
  ATTEMPT=0
  [[ ! $line =~ \"attempt\":\ ([0-9]{1,9}), ]] || ATTEMPT=${BASH_REMATCH[1]}
}

look_at() {  # JOB TASKS OUTPUT...: adds the tasks without success to GATE
  local name task kind names missing='' first=0 t folder=$STATE_DIR/receipts/$1
  local -A newest=()
  mapfile -t names < <(LC_ALL=C ls -1tN -- "$folder" 2>/dev/null)
  # The newest first, at equal times by name, so that an end stands before its start.
  for name in "${names[@]}"; do  # <task>.<id>.<run, ok or fail-N>
    task=${name%%.*} kind=${name##*.}
    case $task in '' | *[!0-9]*) continue ;; esac
    case $kind in run | ok | fail-*) ;; *) continue ;; esac
    if [[ -z ${newest[$task]:-} ]]; then
      newest[$task]=$name
      continue
    fi
    # The clocks of two nodes may differ: of two attempts the number tells which is the newer.
    attempt_of "$folder/${newest[$task]}"
    t=$ATTEMPT
    ((t)) || continue
    attempt_of "$folder/$name"
    ((ATTEMPT <= t)) || newest[$task]=$name
  done
  [[ -z ${newest[*]:-} ]] && made_by_hand "${@:2}" && return
  for ((t = 1; t <= $2 + 1; t++)); do
    if ((t <= $2)) && [[ ${newest[$t]:-} != *.ok ]]; then
      ((first)) || first=$t
    elif ((first)); then
      missing+=${missing:+,}$first
      ((first == t - 1)) || missing+=-$((t - 1))
      first=0
    fi
  done
  [[ -z $missing ]] || GATE+="${GATE:+; }$1 (task $missing of $2)"
}

look_upstream() {
  GATE=
  look_at 'preprocess_vanilla' 20
  [[ -z $GATE ]]
}

[[ ${PIPELINE_GATE_WAIT:-} =~ ^[0-9]{1,6}$ ]] || PIPELINE_GATE_WAIT=60
GATE_UNTIL=$((SECONDS + 10#$PIPELINE_GATE_WAIT))
until look_upstream; do  # file systems lag: look again for a while
  ((SECONDS < GATE_UNTIL)) ||
    die 78 "not started: no receipt of success of $GATE. See what became of it: pipeline status"
  sleep $((GATE_UNTIL - SECONDS > 2 ? 2 : 1)) &
  wait "$!"
done

# --- 4. Environment
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
read_env_file '.env'
set -euo pipefail
export OMP_NUM_THREADS=8
PIPELINE_PROGRESS=/workspace/$STATE_DIR/progress/$JOB/$TASK.json
export PIPELINE_PROGRESS
mkdir -p -- "$STATE_DIR/progress/$JOB"
rm -f -- "$STATE_DIR/progress/$JOB/$TASK.json"  # of an earlier attempt

# shellcheck disable=SC2317,SC2329
follow() {  # COMMAND...: runs it, so that signals go through to it, and sets `code` to how it ended
  "$@" </dev/null &
  PAYLOAD_PID=$!
  [[ $CAUGHT == "$KNOWN" ]] || kill -s TERM "$PAYLOAD_PID" || true  # it came just before the number
  while :; do
    WOKEN=
    code=0
    wait "$PAYLOAD_PID" || code=$?
    # A signal ends `wait` before the command ends: wait again, for the command's own exit code.
    [[ -n $WOKEN && $code -gt 128 ]] || break
  done
  PAYLOAD_PID=
}

# --- 5. Payload
# Without it NCCL and Gloo may talk over a slow or a closed network.
interface='ib0'
interfaces=(/sys/class/net/"$interface"*)
[[ -e ${interfaces[0]} || $interface == *[!A-Za-z0-9_.-]* ]] || {  # NCCL also takes lists and ^names
  interfaces=(/sys/class/net/*)
  die 65 "$HOST has no network interface $interface, but ${interfaces[*]##*/}. Correct network_interface in the site file"
}
export NCCL_SOCKET_IFNAME=$interface GLOO_SOCKET_IFNAME=$interface

gpus=0
while IFS= read -r line; do
  [[ $line != 'GPU '* ]] || gpus=$((gpus + 1))
done < <(nvidia-smi -L 2>/dev/null)
((gpus >= 8)) ||
  die 65 "$HOST shows $gpus GPUs of the 8 that this job asked for. Look there with nvidia-smi -L; a broken node is one to report and to leave out"

payload=(
  python3
  training/nemo/run_cpt.py
  --config jobs/configs/train_vanilla.yaml
  --data-path data/processed/vanilla/seapile
  --checkpoint-dir /logs/checkpoints/gemma3-1b-baseline
  --wandb-name gemma3-1b-baseline
  --max-steps 10000
)

# torchrun answers 1 to every failure, so each of its processes notes its own exit code: the first
# one counts. A signal goes through to the program, which may have a checkpoint to write.
RANK_CODE=$RECEIPTS/.$RECEIPT.code
rm -f -- "$RANK_CODE"
rank=$(
  cat <<'END'
file=$1
shift
trap 'woken=1; kill -TERM "$pid" 2>/dev/null' TERM INT HUP
"$@" &
pid=$!
woken=1
while [ -n "$woken" ]; do
  woken=
  code=0
  wait "$pid" || code=$?
done
[ "$code" -eq 0 ] || (set -C && echo "$code" >"$file") 2>/dev/null
exit "$code"
END
)
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=600  # seconds from TERM to KILL, for that checkpoint
payload=(
  'python3' -m torch.distributed.run
  --standalone --nnodes=1
  --nproc-per-node=8
  --no-python bash -c "$rank" rank "$RANK_CODE"
  "${payload[@]}"
)

# The same container and mounts as ./run_in_enroot.sh
IMAGE='nemo_framework'
LOG_DIR='/scratch/logs'
command -v enroot >/dev/null ||
  die 65 "enroot is not on $HOST. Choose nodes that have it, or another container in the site file"
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
{ set +x; } 2>/dev/null  # what follows looks at the values; see .env above
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
container+=("$IMAGE" bash -c 'cd /workspace && exec "$@"' bash)
payload=("${container[@]}" "${payload[@]}")

command -v -- "${payload[0]}" >/dev/null ||
  die 127 "${payload[0]} is not on $HOST. Install it, or correct environments in the site file"
STARTED=1
follow "${payload[@]}"
[[ -s $RANK_CODE ]] && ((code)) && read -r code <"$RANK_CODE"
rm -f -- "$RANK_CODE"

# --- 6. The EXIT trap writes how it ended
exit "$code"
