"""A real SLURM of one node for the tests, in a folder of its own that is all there is of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from slurm.packages import fetch_slurm

GUARD = Path(__file__).with_name("guard.py")
# A GPU is any character device here: SLURM counts it and hands it out, and nothing ever opens it.
GPUS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")
COMMANDS = ("sacct", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
# Finished jobs stay known for as long as the tests run: they are asked for what they had.
MinJobAge=86400
OverTimeLimit=0
KillWait=2
ReturnToService=2
SlurmdTimeout=60
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 \
RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES DefaultTime=10 MaxTime=INFINITE State=UP
"""


class Cluster:
    """Comes up on entering, is gone on leaving; on being killed too.

    Attributes
    ----------
    folder : all that the cluster writes lies here
    environment : in which its commands are found
    """

    def __init__(self, cpus=4, memory_mb=64000):
        self.cpus, self.memory_mb, self.host = cpus, memory_mb, socket.gethostname().partition(".")[0]

    def __enter__(self):
        self._daemons = []
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self._guard = subprocess.Popen(
            [sys.executable, GUARD, self.folder], stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            self._root = fetch_slurm(self.folder)
            self._configure()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *raised):
        self.stop()

    def stop(self):
        """End everything and leave nothing; the guard does it, as it does when this process dies."""
        self._guard.stdin.close()
        self._guard.wait(60)
        for daemon in self._daemons:
            daemon.wait(10)

    def run(self, *command):
        """What a command of SLURM prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self):
        """All jobs that were ever submitted, as scontrol has them: JobId, JobState, Comment, TRES and so on."""
        lines = self.run("scontrol", "--oneliner", "--all", "show", "job").splitlines()
        return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines if line.startswith("JobId=")]

    def start_node(self):
        """Start slurmd."""
        self._node = self._daemon("slurmd", "-D", "-d", self._root / "usr/sbin/slurmstepd")

    def kill_node(self):
        """Kill slurmd as a failing node does; what its jobs run goes on."""
        self._node.send_signal(signal.SIGKILL)
        self._node.wait()

    def _configure(self):
        ports = _free_ports(2)
        self._libraries = (
            next(self._root.glob("usr/lib/*/slurm-wlm")),
            next(self._root.glob("usr/lib/*/libmunge.so*")).parent,
        )
        for part in ("bin", "munge", "state", "spool"):
            (self.folder / part).mkdir(mode=0o755)
        # munge trusts no socket and no key that others could have placed.
        self.folder.chmod(0o755)
        text = CONFIG.format(
            host=self.host,
            folder=self.folder,
            plugins=self._libraries[0],
            cpus=self.cpus,
            memory_mb=self.memory_mb,
            gpus=len(GPUS),
            controller_port=ports[0],
            node_port=ports[1],
        )
        (self.folder / "slurm.conf").write_text(text)
        gpus = "".join(f"NodeName={self.host} Name=gpu File={device}\n" for device in GPUS)
        (self.folder / "gres.conf").write_text(gpus)
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\nCgroupPlugin=cgroup/v1\n")
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        # The plugin takes SLURM_CONF from the environment of a job's step: the commands bring it along.
        libraries = os.pathsep.join(map(str, self._libraries))
        settings = f"SLURM_CONF={self.folder / 'slurm.conf'} LD_LIBRARY_PATH={libraries}"
        for command in COMMANDS:
            wrapper = self.folder / "bin" / command
            program = self._root / "usr" / "bin" / command
            wrapper.write_text(f'#!/bin/sh\n{settings} exec {program} "$@"\n')
            wrapper.chmod(0o755)
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH", "SRUN", "PYTEST", "PYTHONPATH"))
        }
        self.environment = kept | {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }

    def _start(self):
        munge = self.folder / "munge"
        places = [f"--{what}-file={munge / what}" for what in ("key", "pid", "seed", "log")]
        self._daemon("munged", "--foreground", "--force", f"--socket={munge / 'socket'}", *places)
        self._wait("munged", (munge / "socket").exists)
        self._daemon("slurmctld", "-D")
        self._wait("slurmctld", lambda: "UP" in self.run("scontrol", "ping"))
        self.start_node()
        self._wait("slurmd", lambda: self.run("sinfo", "--noheader", "--format=%t").strip() == "idle")
        self._wait("a first job", lambda: self.run("srun", "--immediate=5", "true") == "")

    def _daemon(self, name, *arguments):
        libraries = os.pathsep.join(map(str, self._libraries))
        with open(self.folder / f"{name}.out", "ab") as out:
            daemon = subprocess.Popen(
                [self._root / "usr" / "sbin" / name, *arguments],
                env=self.environment | {"LD_LIBRARY_PATH": libraries},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._daemons.append(daemon)
        return daemon

    def _wait(self, what, ready, seconds=30):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if ready():
                    return
            except RuntimeError:
                pass
            time.sleep(0.1)
        logs = [
            f"{path.name}:\n{path.read_text(errors='replace')[-1500:]}" for path in sorted(self.folder.glob("*.[lo]*t"))
        ]
        raise RuntimeError(f"{what} did not come up within {seconds} s\n" + "\n".join(logs))


def _free_ports(n):
    """Ports that nobody listens on now."""
    held = [socket.socket() for _ in range(n)]
    try:
        for listener in held:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in held]
    finally:
        for listener in held:
            listener.close()
