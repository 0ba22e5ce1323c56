"""Modbus TCP frames in a byte stream that nobody vouches for."""

_HEADER, _SHORTEST, _LONGEST = 6, 2, 254  # Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3, 4.1


class Frames:
    """Cuts a byte stream into Modbus TCP frames. After a fault the stream has no meaning any more."""

    __slots__ = ("fault", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self.fault = ""

    def cut(self, data: bytes) -> list[bytes]:
        """Whole frames so far; `fault` says why nothing can follow."""
        data = self.rest + data if self.rest else data
        found, start = [], 0
        while len(data) - start >= _HEADER:
            length = data[start + 4] << 8 | data[start + 5]
            if data[start + 2] or data[start + 3]:
                self.fault = f"protocol id {data[start + 2 : start + 4].hex()} is not Modbus"
                break
            if not _SHORTEST <= length <= _LONGEST:
                self.fault = f"length {length} is none that Modbus allows"
                break
            end = start + _HEADER + length
            if end > len(data):
                break
            found.append(data[start:end])
            start = end
        self.rest = data[start:]
        return found
