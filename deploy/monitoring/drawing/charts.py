"""Draws lines, stacked areas and states over time into a panel."""
import math

from drawing.svg import (FAINT, INK, LINES, SERIES, along, box, color_of, cut, ink_on, line, number, width_of,
                         words)
from drawing.units import powers, shown, ticks, time_ticks

RIGHT, AXIS, LEGEND_LINE = 10, 16, 15
LEAST_PLOT = 75  # of a panel's height; the rest may be names


class Frame:
    """Where things stand in a panel, and the times that it shows."""

    def __init__(self, x, y, width, height, start, end, events=()):
        self.x, self.y, self.width, self.height = x, y, width, height
        self.start, self.end, self.events = start, end, events

    def inner(self, top, bottom, left):
        """The place of a plot."""
        return Frame(self.x + left, self.y + top, self.width - left - RIGHT, self.height - top - bottom, self.start,
                     self.end, self.events)

    def across(self, moment):
        return self.x + (moment - self.start) / (self.end - self.start) * self.width


def legend(frame, names, most_lines):
    """(elements, its height): names with their colours in lines at the bottom."""
    lines, used = [[]], 0
    for name, color in names:
        needs = min(width_of(name, 10.5) + 26, frame.width - 20)
        if lines[-1] and used + needs > frame.width - 20:
            lines.append([])
            used = 0
        lines[-1].append((used, name, color))
        used += needs
    left_out = sum(len(one) for one in lines[most_lines:])
    lines = lines[:most_lines]
    made, y = [], frame.y + frame.height - LEGEND_LINE * len(lines) + 6
    for one in lines:
        for across, name, color in one:
            x = frame.x + 12 + across
            made.append(box(x, y - 5, 10, 3, color))
            made.append(words(x + 14, y, cut(name, 10.5, frame.width - 40), 10.5, FAINT))
        y += LEGEND_LINE
    if left_out:
        made.append(words(frame.x + frame.width - 8, y - LEGEND_LINE, f"+{left_out}", 10.5, FAINT, "end"))
    return made, LEGEND_LINE * len(lines) + 2


def times(plot):
    made = []
    for moment, text in time_ticks(plot.start, plot.end, max(2, int(plot.width / 75))):
        x = plot.across(moment)
        made.append(line(x, plot.y, x, plot.y + plot.height))
        anchor = "end" if x + 22 > plot.x + plot.width + RIGHT else "middle"
        made.append(words(min(x, plot.x + plot.width + 4), plot.y + plot.height + 12, text, 10, FAINT, anchor))
    for moment, color in plot.events:
        x = plot.across(moment)
        made.append(line(x, plot.y, x, plot.y + plot.height, color, ' stroke-dasharray="3 2"'))
    return made


def runs(points, step):
    """Points next to each other in time; a gap begins a new run."""
    made, before = [], None
    for moment, value in sorted(points.items()):
        if before is None or moment - before > 1.5 * step:
            made.append([])
        made[-1].append((moment, value))
        before = moment
    return made


def bounds(values, least, most, base):
    low, high = min(values, default=0), max(values, default=1)
    if base:
        positive = [value for value in values if value > 0] or [1]
        first = math.floor(math.log(min(positive), base) + 1e-9)
        return float(base) ** first, float(base) ** max(math.ceil(math.log(max(positive), base) - 1e-9), first + 1)
    low = least if least is not None else low
    if most is not None and high > 0.5 * most:
        high = most
    if high <= low:
        high = low + (abs(low) * 0.1 or 1)
    return low, high + (0 if high == most else 0.06 * (high - low))


def graph(frame, top, series, unit, step, least=None, most=None, base=0, stacked=False):
    """`series`: (name, color, {time: value}, dashed). `base`: of a logarithmic axis; 0: it is linear."""
    room = frame.height - top - AXIS - LEAST_PLOT
    made, below = legend(frame, [(name, color) for name, color, _, _ in series], max(1, int(room / LEGEND_LINE)))
    if stacked:
        series = piled(series)
    low, high = bounds([value for _, _, points, _ in series for value in points.values()], least, most, base)
    about = max(2, int((frame.height - top - below - AXIS) / 38))
    marks = [(value, shown(value, unit)) for value in (powers(low, high, base) if base else
                                                       ticks(low, high, unit, about))]
    plot = frame.inner(top + 4, below + AXIS, max([36] + [width_of(text, 10) for _, text in marks]) + 12)

    def down(value):
        if base:
            share = math.log(max(value, low) / low) / math.log(high / low)
        else:
            share = (value - low) / (high - low)
        return plot.y + plot.height * (1 - min(1, max(0, share)))

    for value, text in marks:
        made.append(line(plot.x, down(value), plot.x + plot.width, down(value)))
        made.append(words(plot.x - 6, down(value) + 3.5, text, 10, FAINT, "end"))
    made += times(plot)
    for name, color, points, dashed in reversed(series) if stacked else series:
        for run in runs(points, step):
            at = [(plot.across(moment), down(value)) for moment, value in run]
            if len(at) == 1:
                at.append((at[0][0] + 1, at[0][1]))
            if stacked:
                ground = number(plot.y + plot.height)
                made.append(f'<path d="{along(at)}V{ground}H{number(at[0][0])}z" fill="{color}" '
                            'stroke="#fff" stroke-width=".5"/>')
            else:
                more = ' stroke-dasharray="6 4"' if dashed else ""
                made.append(f'<path d="{along(at)}" stroke="{color}" stroke-width="1.4"{more}/>')
    return made


def piled(series):
    """Each on top of the ones before it; what has no value counts as 0."""
    moments = sorted({moment for _, _, points, _ in series for moment in points})
    height, made = dict.fromkeys(moments, 0.0), []
    for name, color, points, dashed in series:
        for moment in moments:
            height[moment] += points.get(moment, 0)
        made.append((name, color, dict(height), dashed))
    return made


def states(frame, top, series, step, look):
    """`look(value)`: (text, color). Series as for graph."""
    kinds = {}
    for _, _, points, _ in series:
        for value in sorted(set(points.values())):
            kinds.setdefault(*look(value))
    made, below = legend(frame, list(kinds.items()), 2)
    left = min(110, max([width_of(name, 10.5) for name, *_ in series] + [30]) + 18)
    plot = frame.inner(top, below + AXIS, left)
    made += times(plot)
    room = plot.height / max(1, len(series))
    for index, (name, _, points, _) in enumerate(series):
        y, height = plot.y + room * index + room * 0.12, room * 0.76
        made.append(words(plot.x - 6, y + height / 2 + 4, cut(name, 10.5, left - 10), 10.5, FAINT, "end"))
        for run in runs(points, step):
            for first, last, value in merged(run, step):
                text, color = look(value)
                x, width = plot.across(first), plot.across(min(last, plot.end)) - plot.across(first)
                made.append(box(x, y, width, height, color, ' fill-opacity=".85"'))
                if width > width_of(text, 10) + 8 and height > 12:
                    made.append(words(x + 4, y + height / 2 + 3.5, text, 10, ink_on(color)))
    return made


def merged(run, step):
    """(first, last, value) of equal neighbours."""
    made = []
    for moment, value in run:
        if made and made[-1][2] == value:
            made[-1][1] = moment + step
        else:
            if made:
                made[-1][1] = moment
            made.append([moment, moment + step, value])
    return made


def bars(frame, top, values, unit, most, color_at):
    """`values`: (name, value)."""
    made, room = [], min(26, (frame.height - top - 8) / max(1, len(values)))
    left = min(170, max([width_of(name, 11) for name, _ in values] + [40]) + 20)
    length = frame.width - left - 84
    most = most or max([value for _, value in values] + [1e-9])
    for index, (name, value) in enumerate(values):
        y = frame.y + top + room * index
        made.append(words(frame.x + left - 6, y + room / 2 + 4, cut(name, 11, left - 12), 11, INK, "end"))
        made.append(box(frame.x + left, y + 3, length, room - 6, LINES))
        made.append(box(frame.x + left, y + 3, length * min(1, value / most), room - 6, color_at(value)))
        made.append(words(frame.x + left + length + 8, y + room / 2 + 4, shown(value, unit), 11, INK))
    return made


def color_by(index):
    return SERIES[index % len(SERIES)]


def spark(frame, points, step, color):
    """A line without axes along the bottom of a number."""
    values = list(points.values())
    low, high = min(values), max(values)
    made = []
    for run in runs(points, step):
        at = [(frame.across(moment), frame.y + frame.height * (1 - (value - low) / ((high - low) or 1)))
              for moment, value in run]
        if len(at) > 1:
            made.append(f'<path d="{along(at)}" stroke="{color_of(color)}" stroke-opacity=".55"/>')
    return made
