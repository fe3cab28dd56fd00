"""Numbers as Grafana shows them: with the unit of the panel, and ticks of axes that suit the unit."""
import math
import time

AFTER = {"reqps": " req/s", "ops": " ops/s", "wps": " writes/s", "rps": " reads/s", "cps": " /s"}
BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def plain(value, digits=3):
    """At most so many digits that say something, without zeros at the end."""
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short(value):
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return plain(value / size) + name
    return plain(value)


def duration(value):
    size = abs(value)
    for least, of, name in ((86400, 86400, "d"), (3600, 3600, "h"), (60, 60, "min"), (1, 1, "s"),
                            (1e-3, 1e-3, "ms"), (1e-6, 1e-6, "µs")):
        if size >= least:
            return f"{plain(value / of)} {name}"
    return "0 s" if value == 0 else f"{plain(value / 1e-9)} ns"


def binary(value):
    power = 0 if abs(value) < 1 else min(len(BINARY) - 1, int(math.log(abs(value), 1024)))
    return f"{plain(value / 1024 ** power)} {BINARY[power]}"


def shown(value, unit):
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "s":
        return duration(value)
    if unit == "bytes":
        return binary(value)
    if unit == "binBps":
        return binary(value) + "/s"
    if unit == "percentunit":
        return plain(value * 100) + " %"
    if unit.startswith("suffix:"):
        return short(value) + unit[len("suffix:"):]
    return short(value) + AFTER.get(unit, "")


def step_of(rough, unit):
    """The next round number."""
    if unit in ("bytes", "binBps") and rough >= 1:
        return 2.0 ** math.ceil(math.log2(rough) - 1e-9)
    if unit == "s" and rough > 20:
        return next((one for one in (30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200) if one >= rough),
                    86400 * math.ceil(rough / 86400))
    power = 10 ** math.floor(math.log10(rough))
    return power * next((one for one in (1, 2, 2.5, 5) if one * power >= rough * 0.999), 10)


def ticks(least, most, unit, about=4):
    """Round numbers between the two."""
    if most <= least:
        most = least + 1
    step = step_of((most - least) / about, unit)
    first = math.ceil(least / step - 1e-9)
    return [step * index for index in range(first, math.floor(most / step + 1e-9) + 1)]


def powers(least, most, base):
    """Powers between the two, not more than six."""
    first, last = math.ceil(math.log(least, base) - 1e-9), math.floor(math.log(most, base) + 1e-9)
    apart = max(1, math.ceil((last - first + 1) / 6))
    return [float(base) ** power for power in range(first, last + 1, apart)]


def time_ticks(start, end, about=5):
    """(moment, text)"""
    step = next((one for one in (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)
                 if (end - start) / one <= about), 86400)
    first = math.ceil(start / step)
    pattern = "%H:%M:%S" if step < 60 else "%H:%M"
    return [(step * index, time.strftime(pattern, time.gmtime(step * index)))
            for index in range(first, math.floor(end / step) + 1)]
