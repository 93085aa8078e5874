#!/usr/bin/env bash
# A Slurm of one node on this machine, for tests:
#   slurm.sh start FOLDER   writes everything into FOLDER, which must not exist, and starts the daemons
#   slurm.sh stop FOLDER    ends the jobs and the daemons, and removes FOLDER
# Needs: apt-get install --no-install-recommends slurm-wlm munge. Exits with 3 where that is missing.
# Only the programs in FOLDER/bin reach this Slurm. Nothing is read from or written to /etc/slurm and
# /etc/munge, so that a Slurm which the machine has stays as it is.
# The node claims 8 processors, 64 GB and two GPUs, which are /dev/null, whatever the machine has.
set -euo pipefail
action=${1:?start or stop} folder=$(realpath -m "${2:?folder}")
export PATH="$PATH:/usr/sbin:/sbin"

end() { # end PROGRAM: the daemon whose process the file names
    local pid
    pid=$(cat "$folder/$1.pid" 2> /dev/null) && grep -qs "^$1" "/proc/$pid/comm" || return 0
    kill "$pid"
    for _ in {1..100}; do
        grep -qs '^State:\s*[^Z]' "/proc/$pid/status" || return 0
        sleep 0.1
    done
    kill -KILL "$pid"
}

stop() {
    "$folder/bin/scancel" --user "$(id -un)" 2> /dev/null || true
    for _ in {1..200}; do # Slurm ends what jobs have started as long as it runs
        [[ $("$folder/bin/squeue" --noheader 2> /dev/null) ]] || break
        sleep 0.1
    done
    end slurmctld
    end slurmd
    end munged
    rm -rf "$folder"
}

if [[ $action == stop ]]; then
    [[ -f $folder/slurm.conf ]] || { echo "$folder: holds no Slurm that '$0 start' made" >&2; exit 2; }
    stop
    exit
fi

[[ ! -e $folder ]] || { echo "$folder: exists; name a folder that does not" >&2; exit 2; }
for program in munged slurmctld slurmd sbatch srun squeue scancel scontrol sinfo; do
    command -v "$program" > /dev/null && continue
    echo "$program: not installed; apt-get install --no-install-recommends slurm-wlm munge" >&2
    exit 3
done

mkdir -p "$folder"/{bin,munge,state,spool}
chmod 700 "$folder/munge"
head -c 1024 /dev/urandom > "$folder/munge/key"
chmod 400 "$folder/munge/key"
read -r controller node < <(python3 - << 'END'
import socket
free = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in free))
END
)
cat > "$folder/slurm.conf" << END
ClusterName=tests
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
PlugStackConfig=$folder/plugstack.conf
# Without control groups and accounting, which want rights over the whole machine and a database.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
KillWait=5
MpiDefault=none
MinJobAge=3600
SchedulerParameters=sched_min_interval=100000
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:2
PartitionName=tests Nodes=ALL Default=YES MaxTime=2-00:00:00 State=UP
END
echo "NodeName=$(hostname -s) Name=gpu Count=2 File=/dev/null,/dev/zero" > "$folder/gres.conf"
touch "$folder/plugstack.conf"
for program in sbatch srun squeue scancel scontrol sinfo; do
    printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' \
        "$folder/slurm.conf" "$(command -v "$program")" > "$folder/bin/$program"
done
# The executor asks it for the accounts of a user; without accounting there are none.
printf '#!/bin/sh\n' > "$folder/bin/sacctmgr"
chmod +x "$folder"/bin/*

trap stop ERR
munged --force --socket="$folder/munge/socket" --key-file="$folder/munge/key" \
    --pid-file="$folder/munged.pid" --seed-file="$folder/munge/seed" \
    --log-file="$folder/munge/log" --num-threads=2
export SLURM_CONF="$folder/slurm.conf"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in {1..300}; do
    [[ $("$folder/bin/sinfo" --noheader --format %T 2> /dev/null) == idle ]] && exit
    sleep 0.1
done
echo "Slurm did not start within 30 seconds:" >&2
tail -n 20 "$folder"/slurm*.log >&2
stop
exit 1
