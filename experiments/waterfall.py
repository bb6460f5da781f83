# SPDX-License-Identifier: Apache-2.0
"""The waits of one request as a picture: who waits for whom, and when."""

from xml.sax import saxutils

from experiments import traces

_COLOURS = {"api": "#2a6592", "conductor": "#5aa469", "scheduler": "#c0732a",
            "placement": "#8d6cab", "compute": "#999999"}
_WIDTH, _ROW, _TOP, _MARGIN = 1000, 13, 44, 16
#: Width of the texts beside the bars.
_TEXT = 330
_STEPS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def _step(total_ms):
    return next((step for step in _STEPS_MS if total_ms / step <= 12),
                _STEPS_MS[-1])


def picture(title, events):
    """Return a request's Events as SVG.

    Answers to requests and messages are pale, trips to a store are not; those
    that are not of the longest sequence are narrow.
    """
    begin = events[0].begin
    total_ms = 1000 * max(max(event.end for event in events) - begin, 0.001)
    scale = (_WIDTH - _TEXT - 2 * _MARGIN) / total_ms
    height = _TOP + _ROW * len(events) + _MARGIN
    chosen = {id(event) for event in traces.in_sequence(events)}
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" '
        'font-family="sans-serif" font-size="9">' % (_WIDTH, height),
        '<rect width="100%" height="100%" fill="#fff"/>',
        '<text x="%d" y="16" font-size="13">%s</text>' % (
            _MARGIN, saxutils.escape(title))]
    for number, (role, colour) in enumerate(_COLOURS.items()):
        left = _MARGIN + 90 * number
        parts += ['<rect x="%d" y="22" width="9" height="9" fill="%s"/>' % (
            left, colour), '<text x="%d" y="30">%s</text>' % (
                left + 13, role)]
    step = _step(total_ms)
    for number in range(int(total_ms / step) + 1):
        left = _MARGIN + number * step * scale
        parts += ['<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" '
                  'stroke="#ddd"/>' % (left, left, _TOP, height - _MARGIN),
                  '<text x="%.1f" y="%d" fill="#777">%d ms</text>' % (
                      left + 2, _TOP - 3, number * step)]
    for number, event in enumerate(events):
        left = _MARGIN + 1000 * (event.begin - begin) * scale
        width = max(1000 * (event.end - event.begin) * scale, 1)
        is_trip = event.kind == "trip"
        thick = _ROW - (4 if not is_trip or id(event) in chosen else 9)
        top = _TOP + _ROW * number + (_ROW - thick) / 2
        parts += [
            '<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s" '
            'fill-opacity="%s"/>' % (
                left, top, width, thick, _COLOURS.get(event.role, "#333"),
                "1" if is_trip else "0.25"),
            '<text x="%.1f" y="%d">%s</text>' % (
                left + width + 3, _TOP + _ROW * number + 10,
                saxutils.escape(_short(event)))]
    return "\n".join([*parts, "</svg>", ""])


def _short(event):
    text = event.label if event.kind != "trip" else "%s: %s" % (
        event.label, event.detail)
    return text if len(text) < 75 else text[:72] + "..."
