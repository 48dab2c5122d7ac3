"""
`python -m snakemake` called by a warm job, as a comparison does for each of its cells: in a fork of a warm process too.

Run as a program, this file is what the job starts in place of that command. It hands its arguments, folder, environment
and output to the process that `serve` has left waiting, and ends with the exit status of the fork. If it is killed, so
is the fork.
"""

import array
import json
import os
import select
import signal
import socket
import subprocess
import sys

CLIENT = os.path.abspath(__file__)


def serve(address, run):
    """Leave a fork of this process waiting at `address`; returns its process id.

    Parameters
    ----------
    address : path of a socket that does not exist
    run : function (request, output, messages) that does not return: the command with these two file descriptors
    """
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    server = os.fork()
    if server:
        listening.close()
        return server
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the process of a call
    while True:
        call, _ = listening.accept()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            _answer(call, run)
        call.close()


def _answer(call, run):
    """The process of one call: starts the command and returns its exit status, or ends it with the caller."""
    with call.makefile("rb") as lines:
        _, (output, messages) = _receive(call)
        request = json.loads(lines.readline())
    child = os.fork()
    if not child:
        call.close()
        run(request, output, messages)
        os._exit(0)
    ready, _, _ = select.select([os.pidfd_open(child), call], [], [])
    if call in ready:
        os.kill(child, signal.SIGTERM)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if call not in ready:
        call.sendall(b"%d\n" % code)
    os._exit(0)


def _receive(call):
    """The byte that announces a call, and the file descriptors that come with it."""
    numbers = array.array("i")
    byte, sent, _, _ = call.recvmsg(1, socket.CMSG_LEN(2 * numbers.itemsize))
    numbers.frombytes(sent[0][2])
    return byte, numbers


class Popen(subprocess.Popen):
    """A Popen that starts this file in place of `python -m snakemake`; `address` is where `serve` waits."""

    address = None

    def __init__(self, command, *more, **how):
        if isinstance(command, list) and command[1:3] == ["-m", "snakemake"]:
            command = [command[0], "-S", CLIENT, self.address, *command[3:]]
        super().__init__(command, *more, **how)


def main(address, *arguments):
    call = socket.socket(socket.AF_UNIX)
    call.connect(address)
    call.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1, 2]))])
    request = {"folder": os.getcwd(), "arguments": arguments, "environment": dict(os.environ)}
    call.sendall(json.dumps(request).encode() + b"\n")
    code = call.makefile("rb").readline()
    return int(code) if code else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
