#!/bin/bash
# Write sites/default.yaml and the six scripts of the training plan:
#   jobs/preprocess_data_{vanilla,stochastok,patok} and jobs/run_cpt_{baseline,stochastok,patok}
#
#   bash job_templates/setup_jobs.sh                  # on a terminal it asks
#   QUEUE=gpu LOG_DIR=/scratch/me/logs bash job_templates/setup_jobs.sh
#
# Settings, from the environment; what is neither given nor answered stays as it is in
# sites/default.yaml, else has the default in brackets:
#   SCHEDULER         pbs, slurm or local             (pbs)
#   QUEUE             queue or partition              (none: the scheduler's own)
#   ACCOUNT           what jobs are charged to        (none)
#   PROJECT_DIR       this folder, as nodes see it    (where it is here)
#   LOG_DIR           logs and checkpoints            (PROJECT_DIR/logs)
#   NETWORK_IF        for training over nodes         (none: NCCL chooses)
#   DEFAULT_NGPUS     per node                        (8)
#   DEFAULT_NCPUS     per node                        (64)
#   DEFAULT_MEMORY    per node                        (480GB)
#   DEFAULT_WALLTIME                                  (48:00:00)
#
# Running it again refreshes the scripts. A sites/default.yaml that you changed by hand is never
# overwritten: keep your changes there, or delete it to be asked again.
set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$ROOT"
SITE=sites/default.yaml
MARK='# sha256 of what follows:'

die() {  # MESSAGE
  printf 'error: %s\n' "$1" >&2
  exit 2
}

if (($#)); then
  while IFS= read -r line && [[ $line != set* ]]; do
    [[ $line != '# '* && $line != '#' ]] || printf '%s\n' "${line#\#}"
  done <"${BASH_SOURCE[0]}"
  [[ $1 == -h || $1 == --help ]] || exit 2
  exit 0
fi

old() {  # KEY: its value in sites/default.yaml as this script writes it
  local line
  [[ -f $SITE ]] || return 0
  while IFS= read -r line; do
    [[ $line =~ ^\ *$1:\ \'(.*)\'$ ]] || [[ $line =~ ^\ *$1:\ ([0-9]+)$ ]] || continue
    line=${BASH_REMATCH[1]}
    printf '%s' "${line//\'\'/\'}"
    return 0
  done <"$SITE"
}

GIVEN=  # set when a setting comes from the environment or an answer
ASK=
[[ ! -t 0 || ! -t 2 ]] || ASK=1

setting() {  # VARIABLE KEY DEFAULT PATTERN WHAT: from the environment, the old file, or the user
  local value answer
  value=$(old "$2")
  value=${value:-$3}
  if [[ -n ${!1+set} ]]; then
    value=${!1}
    GIVEN=1
  elif [[ -n $ASK ]]; then
    read -r -p "$5 [$value]: " answer || true
    [[ -z $answer ]] || GIVEN=1
    value=${answer:-$value}
  fi
  [[ $value =~ ^($4)$ && $value != *[[:cntrl:]]* ]] || die "$1 is '$value'. Give $5"
  printf -v "$1" '%s' "$value"
}

setting SCHEDULER scheduler pbs 'pbs|slurm|local' 'the scheduler: pbs, slurm or local'
setting QUEUE queue '' '[A-Za-z0-9_.@,-]*' 'the queue or partition'
setting ACCOUNT account '' '[A-Za-z0-9_.@:/-]*' 'the account that jobs are charged to'
setting PROJECT_DIR project_dir "$ROOT" '/.*' 'the absolute path of this folder on the nodes'
setting LOG_DIR log_dir "$PROJECT_DIR/logs" '/.*' 'the absolute path of the log directory'
setting NETWORK_IF network_interface '' '[A-Za-z0-9_.,^=-]*' 'the network interface, e.g. ib0'
setting DEFAULT_NGPUS gpus 8 '[0-9]{1,4}' 'the GPUs of a node'
setting DEFAULT_NCPUS cpus 64 '[1-9][0-9]{0,4}' 'the cores of a node'
setting DEFAULT_MEMORY mem 480GB '[0-9]+(\.[0-9]+)?([KMGTkmgt]i?)?[Bb]?' 'the memory of a node, e.g. 480GB'
setting DEFAULT_WALLTIME walltime 48:00:00 '[0-9]+:[0-5]?[0-9]:[0-5]?[0-9]' 'the walltime as HH:MM:SS'

quoted() { printf "'%s'" "${1//\'/\'\'}"; }  # as YAML
key() { [[ -z $3 ]] || printf '%s%s: %s\n' "$1" "$2" "$(quoted "$3")"; }  # INDENT KEY VALUE

site_yaml() {
  local name
  printf "site: 'default'\n"
  key '' scheduler "$SCHEDULER"
  key '' project_dir "$PROJECT_DIR"
  key '' log_dir "$LOG_DIR"
  key '' network_interface "$NETWORK_IF"
  key '' account "$ACCOUNT"
  printf 'defaults:\n'
  key '  ' queue "$QUEUE"
  printf '  gpus: %d\n  cpus: %d\n' "$((10#$DEFAULT_NGPUS))" "$DEFAULT_NCPUS"
  key '  ' mem "$DEFAULT_MEMORY"
  key '  ' walltime "$DEFAULT_WALLTIME"
  printf 'environments:\n'
  for name in light hf; do
    printf '  %s: {python: .venv/bin/python}\n' "$name"
  done
  printf '  nemo: {container: enroot, image: nemo_framework}\n'
}

digest() { local sum; sum=$(sha256sum) && printf '%s' "${sum%% *}"; }

untouched() {  # whether sites/default.yaml is as this script wrote it
  local first rest
  IFS= read -r first <"$SITE"
  rest=$(tail -n +2 -- "$SITE" | digest)
  [[ $first == "$MARK $rest" ]]
}

write_site() {
  local body temporary
  body=$(site_yaml)
  mkdir -p sites
  temporary=$(mktemp sites/.default.yaml.XXXXXX)
  # shellcheck disable=SC2064  # the name as it is now
  trap "rm -f -- '$temporary'" EXIT
  printf '%s %s\n%s\n' "$MARK" "$(printf '%s\n' "$body" | digest)" "$body" >"$temporary"
  chmod 644 "$temporary"
  sync -- "$temporary"
  mv -f -- "$temporary" "$SITE"
  trap - EXIT
  printf 'wrote %s\n' "$SITE"
}

if [[ ! -f $SITE ]] || untouched; then
  write_site
elif [[ -n $GIVEN ]]; then
  die "$SITE was changed by hand, so it is not overwritten. Put the settings there, or delete it"
else
  printf 'kept %s: it was changed by hand\n' "$SITE"
fi

if [[ -x .venv/bin/pipeline ]]; then
  pipeline=(.venv/bin/pipeline)
elif command -v pipeline >/dev/null; then
  pipeline=(pipeline)
else
  pipeline=(python3 -m pipeline)
fi
"${pipeline[@]}" render --study filipino-cpt --site default preprocess train
