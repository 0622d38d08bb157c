"""A real SLURM on one machine, all of it in one folder: two nodes, one of them with fake GPUs.

Debian's `slurm-wlm` and `munge` are enough: no systemd, no cgroups, no accounting database, no
root-owned path. Each daemon runs in the foreground as a child of this process, so stopping the
cluster is ending those children.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SBIN = os.pathsep.join(["/usr/sbin", "/sbin"])
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue")

QUICK = (
    "--slurm-init-seconds-before-status-checks=1",
    "--seconds-between-status-checks=1",
    "--slurm-status-command=squeue",
    "--latency-wait=10",
)
"""What a busy cluster needs and a test does not wait for; and no accounting database here."""

_FIELD = re.compile(r"(\w+)=(\S*)")

CONF = """\
ClusterName=nashlens
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=1
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
KillWait=5
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
MinJobAge=3600
MailProg=/bin/true
GresTypes=gpu
NodeName=DEFAULT CPUs=4 RealMemory=32000
NodeName=cpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]}
NodeName=gpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} Gres=gpu:2
PartitionName=main Nodes=cpu1 Default=YES MaxTime=60 State=UP
PartitionName=gpu Nodes=gpu1 MaxTime=60 State=UP
PartitionName=other Nodes=gpu1 MaxTime=60 State=UP
"""


def missing() -> list[str]:
    """List the programs that a cluster needs and this machine lacks."""
    path = os.pathsep.join([os.environ.get("PATH", ""), SBIN])
    return [name for name in NEEDED if shutil.which(name, path=path) is None]


class Cluster:
    """A cluster in a folder; use it as a context manager."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self._children: list[subprocess.Popen] = []
        self._daemons: dict[str, subprocess.Popen] = {}
        wrappers = folder / "bin"
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.conf),
            "PATH": os.pathsep.join([str(wrappers), os.environ["PATH"], SBIN]),
        }

    def __enter__(self) -> Cluster:
        try:
            self._configure()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Cancel what still runs and end the daemons."""
        if self._children:
            subprocess.run(
                ["scancel", "--user", _user()], env=self.environment, timeout=20, check=False
            )
        for child in reversed(self._children):
            child.terminate()
        for child in reversed(self._children):
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children = []
        # Without cgroups, SLURM loses a step's process whose parent it has ended.
        for number in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def jobs(self) -> list[dict[str, str]]:
        """List all jobs so far, each with what SLURM says of it (`Partition`, `JobState`, ...)."""
        out = self.control("scontrol", "show", "job", "--oneliner")
        return [dict(_FIELD.findall(line)) for line in out.splitlines() if "JobId=" in line]

    def control(self, *command: str) -> str:
        """Call one of SLURM's commands and return what it prints."""
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def has_processes(self, number: str) -> bool:
        """Say whether anything of a job still runs on a node."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if path.read_bytes().startswith(f"slurmstepd: [{number}.".encode()):
                    return True
        return False

    def processes(self) -> list[int]:
        """List what runs of this cluster: its daemons, and whatever they started."""
        found, mine = [], f"SLURM_CONF={self.conf}\0".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mine in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    @contextlib.contextmanager
    def controller_away(self) -> Iterator[None]:
        """Let the controller answer nothing."""
        controller = self._daemons["slurmctld"]
        controller.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            controller.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def wrapped(self, command: str, script: str) -> Iterator[Path]:
        """Put a shell script before one of SLURM's commands: `$REAL` is the command.

        Yields a folder that the script knows as `$FOLDER`.
        """
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        wrapper = self.folder / "bin" / command
        real = shutil.which(command, path=os.pathsep.join([os.environ["PATH"], SBIN]))
        wrapper.write_text(f"#!/bin/sh\nREAL={real}\nFOLDER={folder}\n{script}\n")
        wrapper.chmod(0o755)
        try:
            yield folder
        finally:
            wrapper.unlink()

    def _configure(self) -> None:
        for name in ("state", "spool-cpu1", "spool-gpu1", "bin"):
            (self.folder / name).mkdir(parents=True)
        host = socket.gethostname().split(".")[0]
        self.conf.write_text(
            CONF.format(folder=self.folder, host=host, user=_user(), ports=_free_ports(3))
        )
        # A GPU must be a device for SLURM to set CUDA_VISIBLE_DEVICES; this one is always there.
        for name in ("gpu0", "gpu1"):
            (self.folder / name).symlink_to("/dev/null")
        (self.folder / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName=gpu1 Name=gpu File={self.folder}/gpu[0-1]\n"
        )
        # Nothing here uses cgroups, but slurmd ends where it cannot tell their version.
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        # Snakemake's jobstep plugin drops SLURM_CONF before it calls srun.
        real = shutil.which("srun")
        wrapper = self.folder / "bin" / "srun"
        wrapper.write_text(
            f'#!/bin/sh\nSLURM_CONF={self.conf}\nexport SLURM_CONF\nexec {real} "$@"\n'
        )
        wrapper.chmod(0o755)

    def _start(self) -> None:
        folder = self.folder
        self._run(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={folder}/munge.key",
            f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munge.seed",
        )
        self._wait("munged", (folder / "munge.socket").exists)
        self._run("slurmctld", "-D", "-c")
        for node in ("cpu1", "gpu1"):
            self._run("slurmd", "-D", "-N", node)
        self._wait("the nodes", self._ready, seconds=60)

    def _run(self, *command: str) -> None:
        with open(self.folder / f"{len(self._children)}-{command[0]}.out", "wb") as out:
            child = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out)
        self._children.append(child)
        self._daemons[command[0]] = child

    def _ready(self) -> bool:
        done = subprocess.run(
            ["sinfo", "--noheader", "-N", "-o", "%N %T"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return set(done.stdout.splitlines()) == {"cpu1 idle", "gpu1 idle"}

    def _wait(self, what: str, ready: Callable[[], bool], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end or any(c.poll() is not None for c in self._children):
                tails = [
                    f"{path.name}: {path.read_text(errors='replace')[-800:]}"
                    for path in [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
                ]
                raise RuntimeError(f"{what} did not start\n" + "\n".join(tails))
            time.sleep(0.1)


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
