"""A reflected CRC of 32 bits, bit by bit."""


def crc(generator: int, data: bytes, value: int = 0) -> int:
    reflected = int(f"{generator:032b}"[::-1], 2)
    register = value ^ 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (reflected if register & 1 else 0)
    return register ^ 0xFFFFFFFF
