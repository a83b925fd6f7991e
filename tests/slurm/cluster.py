"""A real SLURM cluster of two nodes on this machine, for the time of a test.

Debian's slurmd is built so that several run on one host; ``config_overrides`` lets a node claim
more cores than there are. The GPUs are clones of /dev/null: counted, handed out, never used.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "sinfo", "scontrol")
ETC = Path("/etc/slurm")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort=26817
SlurmdPort=26818
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
ReturnToService=2
MinJobAge=300
KillWait=10
MpiDefault=none
SlurmdParameters=config_overrides
GresTypes=gpu
DefMemPerCPU=500
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=26821 CPUs=8 RealMemory=60000 Gres=gpu:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=26822 CPUs=4 RealMemory=60000
PartitionName=cpu Nodes=n1,n2 Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=gpu Nodes=n1 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=urgent Nodes=n1,n2 State=UP PriorityTier=10 PreemptMode=OFF
"""
GENERIC_RESOURCES = """\
AutoDetect=off
NodeName=n1 Name=gpu File={folder}/fakegpu[0-1]
"""


def why_not() -> str:
    """Return what a cluster here lacks, or nothing."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"SLURM is not installed: no {', '.join(missing)}"
    if os.geteuid() != 0:
        return "daemons of SLURM need root"
    if (ETC / "slurm.conf").exists():
        return "this machine has a SLURM configuration of its own"
    return ""


def ask(*command: str) -> str:
    """Run a command of SLURM and return what it printed."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def wait_for(condition, seconds: float, what: str) -> None:
    """Poll until a condition holds.

    Raises
    ------
    TimeoutError
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.5)


@contextmanager
def running_cluster(folder: Path):
    """Start munge, the controller and two nodes; stop them all at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("state", "spool.n1", "spool.n2"):
        (folder / name).mkdir()
    names = {"host": socket.gethostname(), "folder": folder}
    for number in (0, 1):
        os.mknod(folder / f"fakegpu{number}", 0o020666, os.makedev(1, 3))
    written = [ETC / "slurm.conf", ETC / "gres.conf"]
    ETC.mkdir(exist_ok=True)
    for path, text in zip(written, (CONFIGURATION, GENERIC_RESOURCES), strict=True):
        path.write_text(text.format(**names))
    try:
        _start_munge()
        subprocess.run(["slurmctld"], check=True)
        time.sleep(1)
        for node in ("n1", "n2"):
            subprocess.run(["slurmd", "-N", node], check=True)
        wait_for(_idle, 30, "the nodes do not come up")
        yield
    finally:
        subprocess.run(["scontrol", "shutdown"], check=False, capture_output=True)
        time.sleep(3)
        subprocess.run(["pkill", "-x", "munged"], check=False)
        for path in written:
            path.unlink(missing_ok=True)


def _start_munge() -> None:
    subprocess.run(["mkdir", "-p", "/run/munge"], check=True)
    subprocess.run(["chown", "munge:munge", "/run/munge"], check=True)
    subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged"], check=False)


def _idle() -> bool:
    nodes = ask("sinfo", "-h", "-N", "-o", "%N %t").split("\n")
    states = {line.split()[0]: line.split()[1] for line in nodes if line}
    return len(states) == 2 and set(states.values()) == {"idle"}


def jobs() -> list[str]:
    """Return the names and states of the jobs that are not over."""
    return ask("squeue", "-h", "-o", "%j %T").splitlines()
