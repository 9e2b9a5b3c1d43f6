"""Lengths of time as people write them, in the configuration and for Vault."""

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"


SETTING = ("a duration such as `90s`, `5m`, `12h` or `1d`", "([1-9][0-9]{0,6}[smhd]){1,4}")
"""Of a setting: what it is, in words, and the regular expression for it, see `config.schema.Settings`."""


def seconds(text: str) -> float | None:
    """Seconds of a whole number of them, or of a duration such as `90s` or `1h30m`; None for what is neither.

    pkg.go.dev/time#ParseDuration, and days besides, as developer.hashicorp.com has it in "Duration string format".
    """
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    if not re.fullmatch(rf"({_PART}(ms|s|m|h|d))+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(rf"({_PART})(ms|s|m|h|d)", text))
