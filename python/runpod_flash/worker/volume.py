"""Shows a network volume's folder at ``/runpod-volume``, as far as this process may.

In a mount namespace of its own, so that endpoints with different volumes do not meet; else by a
link, where the root folder can be written; else a variable alone says where it is. As a program,
``volume.py FOLDER COMMAND…``, it then becomes the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile

#: Where Runpod mounts the volume of an endpoint.
PLACE = "/runpod-volume"
#: Set for user code: where the volume is.
VARIABLE = "FLASH_VOLUME_PATH"

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_SLAVE = 4096, 16384, 1 << 19
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1


def show(folder: str) -> str:
    """Make ``folder`` the volume of this process and its children; returns where it is. No threads may run yet."""
    folder = os.path.realpath(folder)
    place = folder
    if _is_shown(folder) or (sys.platform.startswith("linux") and _mounted(folder)) or _linked(folder):
        place = PLACE
    else:
        print(
            f"flash: the network volume is at {folder} (in {VARIABLE}): {PLACE} cannot be made here; "
            "it can where user namespaces are allowed, or as root",
            file=sys.stderr,
            flush=True,
        )
    os.environ[VARIABLE] = place
    return place


def _is_shown(folder: str) -> bool:
    try:
        return os.path.samefile(PLACE, folder)
    except OSError:
        return False


def _linked(folder: str) -> bool:
    """Make a link where nothing is; a link that is there belongs to somebody, and stays."""
    with contextlib.suppress(OSError):
        os.symlink(folder, PLACE)
    return _is_shown(folder)


def _mounted(folder: str) -> bool:
    """Mount it, after a child has shown that it can be done: there is no way back from half of it."""
    root = tempfile.mkdtemp(prefix="flash-root-")
    try:
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                _enter(folder, root)
                status = 0 if _is_shown(folder) else 1
            os._exit(status)
        if os.waitpid(child, 0)[1] != 0:
            return False
        _enter(folder, root)
        return _is_shown(folder)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(root)


def _enter(folder: str, root: str) -> None:
    """Move this process to a namespace that has the volume; ``root`` is an empty folder to build in."""
    here, parent = os.getcwd(), os.getppid()
    user, group = os.geteuid(), os.getegid()
    try:
        _call("unshare", CLONE_NEWNS)
    except OSError:
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    _mount("none", "/", None, MS_REC | MS_SLAVE)
    if os.path.isdir(PLACE):
        _mount(folder, PLACE, None, MS_BIND | MS_REC)
    else:
        _new_root(folder, root)
    os.chdir(here)
    # Another namespace has cleared it.
    _call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _new_root(folder: str, root: str) -> None:
    """Build a root folder that has all that this one has, and the volume."""
    _mount("tmpfs", root, "tmpfs", 0, "mode=755")
    for name in os.listdir("/"):
        old, new = f"/{name}", f"{root}/{name}"
        if os.path.islink(old):
            os.symlink(os.readlink(old), new)
        elif os.path.isdir(old):
            os.mkdir(new)
            _mount(old, new, None, MS_BIND | MS_REC)
        elif os.path.isfile(old):
            _write(new, "")
            _mount(old, new, None, MS_BIND)
    os.mkdir(root + PLACE)
    _mount(folder, root + PLACE, None, MS_BIND | MS_REC)
    with contextlib.suppress(OSError):
        # The new root inside itself.
        _call("umount2", os.fsencode(root + root), MNT_DETACH)
    os.chdir(root)
    try:
        if ctypes.CDLL(None, use_errno=True).syscall(_pivot_number(), b".", b".") != 0:
            raise OSError(ctypes.get_errno(), "pivot_root")
        _call("umount2", b".", MNT_DETACH)
    except OSError:
        os.chroot(".")
    os.chdir("/")


def _pivot_number() -> int:
    """Return the number of the system call, which the C library does not name."""
    return 155 if os.uname().machine == "x86_64" else 41


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _call("mount", encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    with open(path, "w") as stream:
        stream.write(text)


def main() -> None:
    """Show the volume, then become the command."""
    folder, command = sys.argv[1], sys.argv[2:]
    show(folder)
    # A command without a path may mean the Python that runs this.
    program = shutil.which(command[0])
    if program is None and command[0] in ("python", "python3"):
        program = sys.executable
    try:
        os.execv(program or command[0], command)
    except OSError as error:
        sys.exit(f"flash: `{command[0]}` cannot be started: {error.strerror}")


if __name__ == "__main__":
    main()
