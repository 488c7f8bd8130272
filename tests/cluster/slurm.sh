#!/bin/bash
# A real Slurm cluster on loopback, for tests: munged, mariadbd, slurmdbd, slurmctld, four slurmd,
# and an sshd that knows one key. From Debian packages, as root.
#
#   slurm.sh up      install what is missing, start what does not run; twice does no harm
#   slurm.sh env     print the path of the environment file, if the cluster was started
#   slurm.sh down    stop what `up` started, by its pid files, and delete the state
#
# Everything lives in one folder and on a block of ports that was free: another Slurm on this machine
# is left alone.
set -euo pipefail
export LC_ALL=C PATH="/usr/sbin:/usr/bin:/sbin:/bin" DEBIAN_FRONTEND=noninteractive
NODES=4 CPUS=64 MEMORY=256000 GPUS=8
base=/tmp # slurmd runs job scripts from its spool, which /dev/shm may forbid
if [ -w /dev/shm ] && ! grep -q '^[^ ]* /dev/shm .*noexec' /proc/mounts; then base=/dev/shm; fi
STATE=${PIPELINE_TEST_SLURM_STATE:-$base/pipeline-slurm} # another folder is another cluster
export SLURM_CONF=$STATE/slurm.conf MYSQL_UNIX_PORT=$STATE/db.sock

die() {
  echo "slurm.sh: $*" >&2
  exit 1
}

# alive NAME: the process in NAME.pid is there, is no zombie, and is what we started. `slurmd.n1` is
# a slurmd.
alive() {
  local pid
  pid=$(cat "$STATE/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
  grep -q "^${1%%.*}" "/proc/$pid/comm" 2>/dev/null || return 1
  ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$pid/status"
}

# await SECONDS WHAT COMMAND...
await() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until timeout 10 "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || die "no answer from $what; see $STATE/log"
    sleep 0.1
  done
}

# ports: PORT is slurmctld's, +1 slurmdbd's, +2 sshd's, +10 to +13 the slurmds'. Chosen once.
ports() {
  local port
  PORT=$(cat port 2>/dev/null || true)
  for ((port = 27800; port < 29800 && ${PORT:-0} == 0; port += 100)); do
    free "$port" && free $((port + 1)) && free $((port + 2)) && free $((port + 10)) && PORT=$port
  done
  [ -n "$PORT" ] || die "no free ports from 27800 on"
  echo "$PORT" >port
  SSH_PORT=$((PORT + 2))
}

free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

packages() {
  local command missing=
  for command in slurmctld slurmd slurmdbd sbatch sacct munged mariadbd sshd ssh; do
    command -v "$command" >/dev/null || missing="$missing $command"
  done
  [ -n "$missing" ] || return 0
  echo "installing packages for:$missing"
  # Debian starts the services of what it installs, unless this file forbids it.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  local get="apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
  $get update >&2
  $get install --no-install-recommends slurm-wlm slurmdbd munge mariadb-server-core \
    openssh-server openssh-client >&2
}

configure() {
  local n g
  for ((g = 0; g < GPUS; g++)); do ln -sfn /dev/null "gpu$g"; done # gres.conf wants device files
  echo "Name=gpu Type=a100 File=$STATE/gpu[0-$((GPUS - 1))]" >gres.conf
  echo "# none" >cgroup.conf # an empty one makes every daemon complain
  cat >slurm.conf <<END
ClusterName=pipeline
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$STATE/munge.sock
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$STATE/ctld
SlurmdSpoolDir=$STATE/spool/%n
SlurmctldPidFile=$STATE/run/slurmctld.pid
SlurmdPidFile=$STATE/run/slurmd.%n.pid
SlurmctldLogFile=$STATE/log/slurmctld.log
SlurmdLogFile=$STATE/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$STATE/munge.sock
AccountingStorageTRES=gres/gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=100000,batch_sched_delay=1,bf_interval=1
MaxArraySize=100001
MaxJobCount=200000
MinJobAge=2
KillWait=3
ReturnToService=2
MailProg=/bin/true
RebootProgram=/bin/true
LaunchParameters=disable_send_gids
END
  for ((n = 1; n <= NODES; n++)); do
    echo "NodeName=n$n NodeHostname=n$n NodeAddr=127.0.0.1 Port=$((PORT + 9 + n)) CPUs=$CPUS" \
      "CoresPerSocket=$CPUS RealMemory=$MEMORY Gres=gpu:a100:$GPUS State=UNKNOWN" >>slurm.conf
  done
  cat >>slurm.conf <<END
PartitionName=main Nodes=n[1-$NODES] Default=YES MaxTime=7-00:00:00 DefaultTime=60 DefMemPerCPU=100
PartitionName=short Nodes=n[1-$NODES] MaxTime=10 DefaultTime=5 DefMemPerCPU=100
END
  cat >slurmdbd.conf <<END
AuthType=auth/munge
AuthInfo=socket=$STATE/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
CommunicationParameters=NoInAddrAny
SlurmUser=root
PidFile=$STATE/run/slurmdbd.pid
LogFile=$STATE/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
END
  chmod 600 slurmdbd.conf
}

start_munged() {
  alive munged && return
  [ -s munge.key ] || (umask 077 && head -c 128 /dev/urandom >munge.key)
  rm -f munge.sock munge.sock.lock
  munged --key-file="$STATE/munge.key" --socket="$STATE/munge.sock" --pid-file="$STATE/run/munged.pid" \
    --log-file="$STATE/log/munged.log" --seed-file="$STATE/munge.seed" 9>&- ||
    die "munged does not start; see $STATE/log"
}

start_sshd() {
  [ -s ssh/host ] || ssh-keygen -q -t ed25519 -N '' -f ssh/host
  [ -s ssh/id ] || ssh-keygen -q -t ed25519 -N '' -f ssh/id
  echo "[127.0.0.1]:$SSH_PORT $(cut -d' ' -f1,2 ssh/host.pub)" >ssh/known_hosts
  cat >ssh/sshd_config <<END
ListenAddress 127.0.0.1
Port $SSH_PORT
HostKey $STATE/ssh/host
PidFile $STATE/run/sshd.pid
AuthorizedKeysFile $STATE/ssh/id.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
UseDNS no
PrintMotd no
MaxStartups 200:30:400
MaxSessions 100
SetEnv SLURM_CONF=$SLURM_CONF
END
  cat >ssh/config <<END
Host pipeline-slurm
  HostName 127.0.0.1
  Port $SSH_PORT
  User root
  IdentityFile $STATE/ssh/id
  IdentitiesOnly yes
  UserKnownHostsFile $STATE/ssh/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
END
  alive sshd && return
  mkdir -p /run/sshd
  /usr/sbin/sshd -f "$STATE/ssh/sshd_config" -E "$STATE/log/sshd.log" 9>&- ||
    die "sshd does not start; see $STATE/log"
}

start_mariadbd() {
  alive mariadbd && return
  local options=(--no-defaults --datadir="$STATE/db" --user=root --skip-log-bin
    --innodb-buffer-pool-size=64M --innodb-log-file-size=32M --innodb-lock-wait-timeout=900
    --innodb-flush-log-at-trx-commit=0 --innodb-data-file-path=ibdata1:4M:autoextend)
  if [ ! -e db/ready ]; then
    rm -rf db
    mkdir -m 700 db
    (
      printf '%s\n' 'create database mysql;' 'use mysql;' "set @auth_root_socket='root';"
      cd /usr/share/mysql
      cat mysql_system_tables.sql mysql_performance_tables.sql mysql_system_tables_data.sql
    ) | mariadbd "${options[@]}" --bootstrap >log/mariadb-bootstrap.log 2>&1 9>&- ||
      die "mariadbd cannot set up its tables; see $STATE/log"
    touch db/ready
  fi
  rm -f "$MYSQL_UNIX_PORT"
  setsid mariadbd "${options[@]}" --skip-networking --socket="$MYSQL_UNIX_PORT" \
    --pid-file="$STATE/run/mariadbd.pid" </dev/null >>log/mariadb.log 2>&1 9>&- &
  await 60 mariadbd test -S "$MYSQL_UNIX_PORT"
}

start_slurm() {
  local n
  if ! alive slurmdbd; then
    slurmdbd 9>&- || die "slurmdbd does not start; see $STATE/log"
    await 60 slurmdbd sacctmgr -n -i list tres
  fi
  alive slurmctld || slurmctld 9>&- || die "slurmctld does not start; see $STATE/log"
  for ((n = 1; n <= NODES; n++)); do
    mkdir -p "spool/n$n"
    alive "slurmd.n$n" || slurmd -N "n$n" 9>&- || die "slurmd does not start; see $STATE/log"
  done
  await 60 slurmctld scontrol ping
  # Nodes that a crash left DOWN come back by themselves, or by this.
  idle() { [ "$(sinfo -h -N -o %T -p main | grep -cE '^(idle|mixed|allocated)$')" = "$NODES" ]; }
  export -f idle
  export NODES
  for n in 1 2 3; do
    timeout 10 bash -c 'until idle; do sleep 0.1; done' && return
    scontrol update nodename="n[1-$NODES]" state=resume >/dev/null 2>&1 || true
  done
  die "the nodes are not idle: $(sinfo -h -N -o '%N %T %E' -p main)"
}

up() {
  [ "$(id -u)" = 0 ] || die "needs root"
  packages
  mkdir -p "$STATE"
  chmod 755 "$STATE"
  cd "$STATE"
  mkdir -p log run ctld spool
  mkdir -p -m 700 ssh
  exec 9>"$STATE/lock" # so that two at once do the work once
  flock -w 300 9 || die "another slurm.sh is at work"
  ports
  configure
  start_munged
  start_sshd
  start_mariadbd
  start_slurm
  await 10 sshd ssh -F "$STATE/ssh/config" pipeline-slurm true
  printf 'export SLURM_CONF=%s\nexport PIPELINE_TEST_SSH_CONFIG=%s\n' \
    "$SLURM_CONF" "$STATE/ssh/config" >env.sh
  echo "$STATE/env.sh"
}

stop() {
  local pid i
  alive "$1" || return 0
  pid=$(cat "$STATE/run/$1.pid")
  kill "$pid" 2>/dev/null || true
  for ((i = 0; i < 100; i++)); do
    alive "$1" || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
}

down() {
  [ -d "$STATE" ] || return 0
  local n
  timeout 10 scancel -u root >/dev/null 2>&1 || true
  for ((n = 0; n < 50; n++)); do
    [ -n "$(timeout 10 squeue -h 2>/dev/null || true)" ] || break
    sleep 0.2
  done
  for ((n = 1; n <= NODES; n++)); do stop "slurmd.n$n" & done
  wait
  for n in slurmctld slurmdbd mariadbd sshd munged; do stop "$n"; done
  rm -rf "$STATE"
}

case ${1:-} in
  up) up ;;
  down) down ;;
  env) [ ! -e "$STATE/env.sh" ] || echo "$STATE/env.sh" ;;
  *) die "usage: slurm.sh up|env|down" ;;
esac
