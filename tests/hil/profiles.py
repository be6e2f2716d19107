"""Cost profiles made by hand."""

from __future__ import annotations

from hil.boards.cost_profile import BoardFacts, CodeMemory, Cost, CostProfile, ModelFacts


def cost(work: str, median_ns: float = 100.0, of: str = "", size_bytes: int = 0) -> Cost:
    low, high = 0.9 * median_ns, 1.25 * median_ns
    return Cost(
        work=work,
        of=of,
        size_bytes=size_bytes,
        repeats=9,
        first_quartile_ns=low,
        median_ns=median_ns,
        third_quartile_ns=high,
    )


def profile(*costs: Cost, temperature_c: float | None = 51.5, digest: str = "ab") -> CostProfile:
    return CostProfile(
        board=BoardFacts(
            target="serial:///dev/ttyUSB0?baud=921600",
            name='Raspberry Pi 4 Model B, aarch64, "quoted"',
            measured="2026-11-22T10:00:00+00:00",
            agent_version="0.1.0",
            crc_engine="crcmod C",
            throttle_actuator="cpufreq",
            clock_ratio=1.0,
            temperature_c=temperature_c,
        ),
        model=ModelFacts(name="digits_int8", digest=digest, weight_bytes=15_000, memory_bytes=30_000),
        memory=(CodeMemory(code="tmr", data_bytes=15_000, check_bytes=30_000),),
        costs=costs or tuple(cost(work, of="tmr", size_bytes=64) for work in ("encode", "check", "scrub", "correct")),
    )
