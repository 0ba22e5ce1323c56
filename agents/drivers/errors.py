"""What can go wrong between an agent and a device. Each error names cause and remedy and carries its fields."""


class DriverError(Exception):
    """Base of everything that a driver raises.

    where   host:port and unit
    cause   what happened
    remedy  what to check or do
    """

    def __init__(self, where: str, cause: str, remedy: str) -> None:
        self.where, self.cause, self.remedy = where, cause, remedy
        super().__init__(f"{where}: {cause}. {remedy}")


class ConnectError(DriverError):
    """No connection to the gateway or device."""

    def __init__(self, where: str, cause: str, retry_in_s: float = 0.0) -> None:
        self.reason, self.retry_in_s = cause, retry_in_s
        super().__init__(
            where,
            f"no connection ({cause})",
            "Check address and port, that the device is powered and in the network, that Modbus TCP is switched on, "
            "and that no other master holds its only connection.",
        )


class NoAnswerError(DriverError):
    """The unit did not answer in time."""

    def __init__(self, where: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(
            where,
            f"no answer within {timeout_s:g} s",
            "Check the unit number, the wiring behind the gateway, and whether another master keeps the line busy.",
        )


class BackingOffError(DriverError):
    """The unit did not answer lately and is left alone until its back-off ends. Nothing was sent."""

    def __init__(self, where: str, retry_in_s: float, last: str) -> None:
        self.retry_in_s = retry_in_s
        super().__init__(
            where,
            f"left alone for another {retry_in_s:.1f} s after failing: {last}",
            "It is tried again by itself; nothing was sent.",
        )


class BadAnswerError(DriverError):
    """The answer is not what the request asked for: wrong length, function, unit, or no Modbus at all."""

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(
            where,
            cause,
            "Check that this port speaks Modbus TCP, the unit number, and that no second device shares it.",
        )


_REFUSALS = {
    1: ("it does not know the function", "The device file asks for a table that this firmware does not serve."),
    2: (
        "it has no such register",
        "The register map differs from the device file: compare model and firmware version.",
    ),
    3: ("it does not accept the value", "Compare the value with the device's documented range."),
    4: ("it failed internally", "Look at the device's own error display; it is tried again."),
    5: ("it needs longer", "It is tried again."),
    6: ("it is busy", "It is tried again; raise gap_ms if this goes on."),
    10: (
        "the gateway has no path to it",
        "Check that what is behind it is powered and reachable, and the unit number.",
    ),
    11: ("the gateway got no answer from it", "Check the unit's power, wiring and unit number."),
}


class RefusedError(DriverError):
    """The device answered with a Modbus exception. `code` is the exception code."""

    def __init__(self, where: str, code: int, request: str) -> None:
        self.code, self.request = code, request
        cause, remedy = _REFUSALS.get(code, ("it gives an unknown reason", "See the device's manual."))
        super().__init__(where, f"refuses {request} with Modbus exception {code}: {cause}", remedy)


class MapChangedError(DriverError):
    """The registers are not where they were: another firmware, another device, or a changed SunSpec chain."""

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(
            where,
            f"the register map changed: {cause}",
            "The next read scans it again; check what was replaced or updated.",
        )


class NotThisProductError(DriverError):
    """The device does not have what its file promises."""

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(where, cause, "Choose the device file that belongs to this product, or enable SunSpec in it.")


class UnknownPointError(DriverError):
    """The device has no point of this name."""

    def __init__(self, where: str, name: str, known: tuple[str, ...]) -> None:
        self.name, self.known = name, known
        super().__init__(where, f"has no point '{name}'", f"It has: {', '.join(known)}.")


class ReadOnlyError(DriverError):
    """The point may only be read."""

    def __init__(self, where: str, name: str) -> None:
        self.name = name
        super().__init__(
            where, f"'{name}' is read-only", "Only points with access rw in the device file may be written."
        )


class WriteNotConfirmedError(DriverError):
    """The device took the write but does not show it."""

    def __init__(self, where: str, name: str, written: object, read: object) -> None:
        self.name, self.written, self.read = name, written, read
        super().__init__(
            where,
            f"'{name}' was written as {written!r} and reads back as {read!r}",
            "Treat it as not in force: look for a second master, a lock, or a mode that has to be enabled first.",
        )


class LineTakenError(DriverError):
    """The line or unit already has its owner in this process."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(where, f"{what} already has an owner", "Share the owner, or close it first.")


class ClosedError(DriverError):
    """The line was closed while the request waited."""

    def __init__(self, where: str) -> None:
        super().__init__(where, "the line is closed", "Open the device again.")
