# SPDX-License-Identifier: GPL-2.0
"""The structs and numbers of quiesce._device are those of quiesce.h, which the C compiler reads."""

import errno
import os
import pathlib
import re
import struct
import subprocess
import tempfile
import unittest

from quiesce import _device as device

TOP = pathlib.Path(__file__).resolve().parents[3]
UAPI = TOP / "src/uapi"
HEADER = (UAPI / "quiesce.h").read_text(encoding="utf-8")

COMMANDS = re.findall(r"^#define QUIESCE_NR_(\w+)", HEADER, re.M)

# The device's constants that the module has under the header's names, without QUIESCE_.
CONSTANTS = [name for name in re.findall(r"^#define QUIESCE_(\w+)", HEADER, re.M) if hasattr(device, name)
             and isinstance(getattr(device, name), int)]

OTHER_NAMES = {"CAUSE_" + reason.name: int(reason) for reason in device.Reason}


def member(name):
    """The member's name in C."""
    if re.fullmatch(r"fd\d", name):
        return f"fd[{name[2]}]"
    return {"cause": "cause.cause", "cause_party": "cause.party", "cause_pid": "cause.pid",
            "status": "cause.status", "code": "cause.code"}.get(name, name)


class Layout(unittest.TestCase):
    """One C program prints what the header has."""

    @classmethod
    def setUpClass(cls):
        lines = []
        for name in COMMANDS:
            command = getattr(device, name)
            lines.append(f'printf("{name} %u\\n", (unsigned int)QUIESCE_IOC_{name});')
            kind = "struct quiesce_" + {"ARRIVE_WAIT": "wait"}.get(name, name.lower())
            for field in command.names:
                if name in ("ARRIVE", "WAIT", "ARRIVE_WAIT") and field in ("party", "pid"):
                    inner = "cause." + field
                elif name == "ABORT" and field == "code":
                    inner = "code"
                else:
                    inner = member(field)
                lines.append(f'printf("{name}.{field} %zu %zu\\n", offsetof({kind}, {inner}), sizeof((({kind} *)0)->{inner}));')
        for name in [*CONSTANTS, *OTHER_NAMES]:
            lines.append(f'printf("{name} %llu\\n", (unsigned long long)QUIESCE_{name});')
        source = "#include <stddef.h>\n#include <stdio.h>\n#include \"quiesce.h\"\nint main(void)\n{\n" + "\n".join(lines) + "\n}\n"
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "layout.c"
            path.write_text(source, encoding="utf-8")
            subprocess.run(["gcc", "-I", UAPI, "-o", path.with_suffix(""), path], check=True)
            printed = subprocess.run([path.with_suffix("")], check=True, capture_output=True, text=True).stdout
        cls.printed = dict(line.split(" ", 1) for line in printed.splitlines())

    def test_every_command_is_there(self):
        self.assertEqual([name for name in COMMANDS if not hasattr(device, name)], [])

    def test_requests(self):
        for name in COMMANDS:
            self.assertEqual(getattr(device, name).request, int(self.printed[name]), name)

    def misplaced(self, name, command):
        """The members of a command's struct that are elsewhere in the header's."""
        offset, wrong = 0, []
        for field, form in zip(command.names, command.layout.format[1:]):
            size = struct.calcsize("=" + form)
            if f"{offset} {size}" != self.printed[f"{name}.{field}"]:
                wrong.append(f"{name}.{field}")
            offset += size
        return wrong

    def test_members(self):
        for name in COMMANDS:
            self.assertEqual(self.misplaced(name, getattr(device, name)), [])

    def test_wrong_members_are_noticed(self):
        exchanged = device.Command(0x13, "flags:I code:Q view:I")
        self.assertEqual(self.misplaced("ABORT", exchanged), ["ABORT.code", "ABORT.view"])
        self.assertNotEqual(device.Command(0x13, "flags:I view:I").request, int(self.printed["ABORT"]))

    def test_constants(self):
        self.assertIn("WAIT_BREAK", CONSTANTS)
        for name in CONSTANTS:
            self.assertEqual(getattr(device, name), int(self.printed[name]), name)
        for name, value in OTHER_NAMES.items():
            self.assertEqual(value, int(self.printed[name]), name)

    def test_every_cause_is_there(self):
        self.assertEqual({"CAUSE_" + name for name in re.findall(r"^#define QUIESCE_CAUSE_(\w+)", HEADER, re.M)}, set(OTHER_NAMES))


class Fiemap(device.Command):
    """FS_IOC_FIEMAP, which every kernel has: it writes its struct and fails."""

    def __init__(self):
        super().__init__(11, "start:Q length:Q flags:I mapped:I count:I reserved:I")
        self.request = 3 << 30 | self.layout.size << 16 | ord("f") << 8 | 11

    def fail(self, error, members):
        raise Failed(error, members)


class Failed(Exception):
    """A call that has failed: its error, and the members that it has written."""


class Failing(unittest.TestCase):
    """A call that fails returns members, as a ticket and a cause."""

    def test_members_are_returned(self):
        unknown = 1 << 30
        fd = os.open(__file__, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        with self.assertRaises(Failed) as caught:
            Fiemap().call(fd, length=1, mapped=77, flags=unknown | 1 << 1)
        error, members = caught.exception.args
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY):
            self.skipTest("the file system has no FIEMAP")
        self.assertEqual(error.errno, errno.EBADR)
        self.assertEqual((members["mapped"], members["flags"] & unknown), (0, unknown))


class Versions(unittest.TestCase):
    """What is released together has one version."""

    def test_they_are_one(self):
        files = {
            "src/packaging/debian/changelog": r"^quiesce \((.*?)\)",
            "src/libquiesce/Makefile": r"^VERSION := (.*)$",
            "src/libquiesce/NEWS": r"^(\d\S*) \(",
            "src/python/quiesce/__init__.py": r'^__version__ = "(.*)"$',
            "src/user/Cargo.toml": r'^version = "(.*)"$',
        }
        found = {path: re.search(pattern, (TOP / path).read_text(encoding="utf-8"), re.M)[1]
                 for path, pattern in files.items()}
        self.assertEqual(len(set(found.values())), 1, found)


if __name__ == "__main__":
    unittest.main()
