"""The demand forecaster: one net for every series, 28 days ahead, quantiles and mean.

An encoder reads what the series was like; a decoder, the same for each day to come, reads that, what the series does on
such weekdays and did a year ago, and the day's price and calendar: the shape of MQ-RNN (Wen et al., "A multi-horizon
quantile recurrent forecaster", 2017, arXiv:1711.11053) with averages over the past instead of a recurrent net. Units
are divided by the series' own level. The answer is a factor on the level of the weekday; the quantiles are sums of
positive steps, so that they never cross.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from modelyard_build.nets.demand_inputs import CONTEXT, FUTURE_COLUMNS, HORIZON

WEIGHTS_FILE = Path(__file__).with_name("demand_forecaster.safetensors")
QUANTILES = 9

WEEK, WEEKS = 7, CONTEXT // 7
# Days that averages are taken over, and half-lives in days of those whose weights decay.
SPANS = (7, 14, 28, 56, 112, 182, 364)
HALF_LIVES = (2.0, 7.0, 30.0)
# Weeks that the averages of a weekday are taken over.
WEEKDAY_SPANS = (2, 4, 8, 13, 26, 52)
# The weekday's average that the answer is a factor on, by its place in WEEKDAY_SPANS.
BASE_SPAN = 2
# The days that the encoder reads one by one.
RECENT = 56
# The same day of the week a year before the first day to come.
YEAR_AGO = CONTEXT - 364
# Kinds of averages: units, their squares, days with a sale.
KINDS = 3
# Of a day to come, beside its own columns: weekday averages of units and of days with a sale, last year (3), price
# against four others, events of the days around it, its place among the 28.
EVENT_SHIFTS = (-2, -1, 1, 2, 3)
_EVENTS = slice(1, 5)
_SNAP = 5
DAY_COLUMNS = (FUTURE_COLUMNS - 1) + 2 * len(WEEKDAY_SPANS) + 3 + 4 + 4 * len(EVENT_SHIFTS) + 1 + 1
STATIC_COLUMNS = KINDS * (len(SPANS) + len(HALF_LIVES)) + 1 + 2 + 2
WIDTH, SERIES_WIDTH = 128, 64
# Added where the level may be 0: the share of a unit (of the series' own) that nothing sold still counts for.
FLOOR = 0.1
_TINY = 1e-6


def windows(spans: tuple[int, ...], length: int) -> Tensor:
    """1 for the newest `span` of so many days, else 0: [length, spans]."""
    age = torch.arange(length - 1, -1, -1)[:, None]
    return (age < torch.tensor(spans)).float()


def decays(half_lives: tuple[float, ...], length: int) -> Tensor:
    """1 for the newest day, half of it a half-life before: [length, half-lives]."""
    age = torch.arange(length - 1, -1, -1)[:, None]
    return torch.exp2(-age / torch.tensor(half_lives))


def around_last_year() -> Tensor:
    """1 for the seven days around the one a year before each day to come: [CONTEXT, HORIZON]."""
    offset = torch.arange(CONTEXT)[:, None] - torch.arange(YEAR_AGO, YEAR_AGO + HORIZON)
    return (offset.abs() <= WEEK // 2).float()


class DemandForecaster(nn.Module):
    """The past and what is known of the days to come in, quantiles and mean of each day out."""

    averages: Tensor
    weekday_averages: Tensor
    last_year: Tensor

    def __init__(self) -> None:
        super().__init__()
        days = torch.cat([windows(SPANS, CONTEXT), decays(HALF_LIVES, CONTEXT)], 1)
        self.register_buffer("averages", days, persistent=False)
        self.register_buffer("weekday_averages", windows(WEEKDAY_SPANS, WEEKS), persistent=False)
        self.register_buffer("last_year", around_last_year(), persistent=False)
        self.recent = nn.Linear(5 * RECENT, 96)
        self.series = nn.Sequential(
            nn.Linear(96 + STATIC_COLUMNS, WIDTH), nn.SiLU(), nn.Linear(WIDTH, SERIES_WIDTH), nn.SiLU()
        )
        self.day = nn.Sequential(
            nn.Linear(SERIES_WIDTH + DAY_COLUMNS, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, QUANTILES + 1),
        )

    def forward(self, past: Tensor, future: Tensor) -> tuple[Tensor, Tensor]:
        """Float [batch, 392, 5], [batch, 28, 22] -> quantiles [batch, 28, 9] and mean [batch, 28], in units."""
        quantiles, mean, scale = self.scaled(past, future)
        return quantiles * scale[..., None], mean * scale

    def scaled(self, past: Tensor, future: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, in shares of the series' own level; and that level, [batch, 1]: what the recipe trains."""
        units, known, price, event, snap = past.unbind(-1)
        scale = 1 + (_mean(units, known, 28) + _mean(units, known, CONTEXT)) / 2
        share, sold = units / scale, (units > 0).to(units.dtype)
        log_price = torch.log(price)
        weekday, weekday_sold = self._by_weekday(share, known), self._by_weekday(sold, known)
        static, usual = self._static(share, sold, known, log_price, snap, scale)
        recent = torch.stack([torch.log1p(share), known, event, snap, log_price - usual], -1)[:, -RECENT:]
        series = self.series(torch.cat([self.recent(recent.flatten(1)), static], -1))
        columns = [
            series[:, None].expand(-1, HORIZON, -1),
            future[..., 1:],
            torch.log1p(weekday),
            weekday_sold,
            self._year_ago(share, known),
            _prices(log_price, known, future[..., 0]),
            _shifted(future[..., _EVENTS]),
            future[..., _SNAP, None] * self._snap_effect(share, known, snap)[..., None],
            torch.linspace(0, 1, HORIZON, dtype=past.dtype)[None, :, None].expand(past.shape[0], -1, -1),
        ]
        answer = self.day(torch.cat(columns, -1))
        base = weekday[..., BASE_SPAN] + FLOOR
        steps = functional.softplus(answer[..., 1:])
        return base[..., None] * torch.cumsum(steps, -1), base * torch.exp(answer[..., 0]), scale

    def _by_weekday(self, values: Tensor, known: Tensor) -> Tensor:
        """Averages over the weekday of each day to come: [batch, 28, spans]."""
        weights = known.reshape(-1, WEEKS, WEEK).transpose(1, 2)
        weekly = (values * known).reshape(-1, WEEKS, WEEK).transpose(1, 2)
        averages: Tensor = (weekly @ self.weekday_averages) / (weights @ self.weekday_averages + _TINY)
        return averages.repeat(1, HORIZON // WEEK, 1)

    def _static(
        self, share: Tensor, sold: Tensor, known: Tensor, log_price: Tensor, snap: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the series is like, [batch, STATIC_COLUMNS]; and the logarithm of its usual price, [batch, 1]."""
        weight = known @ self.averages + _TINY
        level = (share * known) @ self.averages / weight
        square = (share * share * known) @ self.averages / weight
        days_sold = (sold * known) @ self.averages / weight
        usual = _mean(log_price, known, CONTEXT)
        columns = [torch.log1p(level), torch.log1p(square), days_sold, torch.log(scale), usual]
        columns += [log_price[:, -1:] - usual, known.mean(1, keepdim=True), self._snap_effect(share, known, snap)]
        return torch.cat(columns, -1), usual

    def _year_ago(self, share: Tensor, known: Tensor) -> Tensor:
        """The week around the same day of the year before, against the four weeks before it: [batch, 28, 3]."""
        around = (share * known) @ self.last_year / (known @ self.last_year + _TINY)
        before = _mean(share[:, :YEAR_AGO], known[:, :YEAR_AGO], YEAR_AGO)
        is_known = known[:, YEAR_AGO : YEAR_AGO + HORIZON]
        change = (torch.log(around + FLOOR) - torch.log(before + FLOOR)) * is_known * known[:, :1]
        return torch.stack([torch.log1p(around) * is_known, change, is_known], -1)

    @staticmethod
    def _snap_effect(share: Tensor, known: Tensor, snap: Tensor) -> Tensor:
        """How much more is sold on SNAP days, shrunk where there were few: [batch, 1]."""
        level = _mean(share, known, CONTEXT) + FLOOR
        on_snap = (share * snap * known).sum(1, keepdim=True) + 10 * level
        return on_snap / ((snap * known).sum(1, keepdim=True) + 10) / level - 1


def _mean(values: Tensor, known: Tensor, days: int) -> Tensor:
    """Over the newest known days: [batch, 1]."""
    weight = known[:, -days:]
    return (values[:, -days:] * weight).sum(1, keepdim=True) / (weight.sum(1, keepdim=True) + _TINY)


def _prices(log_price: Tensor, known: Tensor, coming: Tensor) -> Tensor:
    """A coming day's price against the last, the last four weeks', the year's, and the next day's: [batch, 28, 4]."""
    log_coming = torch.log(coming)
    next_day = torch.cat([log_coming[:, 1:], log_coming[:, -1:]], 1)
    others = [log_price[:, -1:], _mean(log_price, known, 28), _mean(log_price, known, CONTEXT), next_day]
    return torch.stack([log_coming - other for other in others], -1)


def _shifted(events: Tensor) -> Tensor:
    """The events of the days around each day: [batch, 28, 4 * shifts]."""
    reach = max(abs(shift) for shift in EVENT_SHIFTS)
    padded = functional.pad(events, (0, 0, reach, reach))
    return torch.cat([padded[:, reach + shift : reach + shift + HORIZON] for shift in EVENT_SHIFTS], -1)


def load_forecaster() -> DemandForecaster:
    """The trained net, float32, in eval mode."""
    model = DemandForecaster()
    model.load_state_dict(load_file(WEIGHTS_FILE))
    return model.eval()
