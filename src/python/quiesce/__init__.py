# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
"""Process barriers that report which process ended and why, on /dev/quiesce.

``Barrier`` has the interface of multiprocessing.Barrier, ``Pair`` the semantics of systemd's
barrier, ``Group`` and ``Party`` are the device's groups.
"""

from ._barrier import Barrier, Server
from ._device import BrokenBarrierError, Cause, DeviceMissingError, Member, Reason, Status, WaitTimeout
from ._group import Arrival, Group, Outcome, Party
from ._pair import Pair

__version__ = "0.9.0"
__all__ = [
    "Arrival", "Barrier", "BrokenBarrierError", "Cause", "DeviceMissingError", "Group", "Member", "Outcome", "Pair",
    "Party", "Reason", "Server", "Status", "WaitTimeout",
]

# Where users find them, not where they are defined.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
