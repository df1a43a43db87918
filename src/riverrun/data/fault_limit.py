"""How many bad records an ingest may skip."""

from dataclasses import dataclass

from riverrun.errors import SettingError


@dataclass(frozen=True)
class FaultLimit:
    """Either a count, or a share of all records, in percent."""

    count: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> "FaultLimit":
        """Read "25" (records) or "1%" (of all records); a bare fraction is refused, for 1 could be either."""
        stripped = text.strip()
        try:
            if stripped.endswith("%"):
                percent = float(stripped[:-1])
                if 0 <= percent <= 100:
                    return cls(percent=percent)
            elif int(stripped) >= 0:
                return cls(count=int(stripped))
        except ValueError:
            pass
        raise SettingError(
            f"max-bad: got {text!r}; give a count of records such as 25, or a share with its sign such as 1%"
        )

    def passed_early(self, bad: int) -> bool:
        """Whether so many bad records are too many whatever follows; a share is known only at the end."""
        return self.count is not None and bad > self.count

    def passed(self, bad: int, seen: int) -> bool:
        """Whether `bad` of `seen` records, all of them, are too many."""
        if self.percent is not None:
            return bad > self.percent / 100 * seen
        return self.passed_early(bad)

    def __str__(self) -> str:
        return f"{self.count}" if self.percent is None else f"{self.percent:g}%"
