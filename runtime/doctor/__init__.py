"""What a machine has, what aerocam will use of it, what is missing and the command that brings it.

Nothing here needs NumPy, or any package but Python's own: it must run where something is missing or broken. What could
hang or crash when it is imported is looked at in a process of its own.

    from aerocam.runtime.doctor import examine

    record = examine()
"""

from aerocam.runtime.doctor.machine import Machine
from aerocam.runtime.doctor.record import examine
