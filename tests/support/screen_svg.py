#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: tmux capture-pane -e -p | screen_svg.py TITLE >FILE

A terminal's screen as a picture: text with the colours and faces that it has there.
"""
import re
import sys
from html import escape

CELL_WIDTH, LINE_HEIGHT, FONT_SIZE, MARGIN = 8.4, 18, 14, 14
FOREGROUND, BACKGROUND, FRAME = "#d8dee9", "#1d2129", "#3b4252"
BASE = ["#2e3440", "#bf616a", "#a3be8c", "#ebcb8b", "#81a1c1", "#b48ead", "#88c0d0", "#e5e9f0",
        "#4c566a", "#d0727b", "#b4cf9d", "#f0d399", "#8fb0d3", "#c59ebf", "#97d0e0", "#eceff4"]


def palette(n):
    """Colour n of the 256 that terminals know."""
    if n < 16:
        return BASE[n]
    if n >= 232:
        return "#" + f"{8 + 10 * (n - 232):02x}" * 3
    levels = (0, 95, 135, 175, 215, 255)
    n -= 16
    return "#%02x%02x%02x" % (levels[n // 36], levels[n // 6 % 6], levels[n % 6])


class Style:
    """What escape sequences have chosen."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.colour = self.ground = None
        self.bold = self.dim = self.underline = self.reverse = False

    def extended(self, codes):
        kind = codes.pop(0) if codes else 0
        if kind == 5 and codes:
            return palette(codes.pop(0))
        if kind == 2 and len(codes) >= 3:
            return "#%02x%02x%02x" % (codes.pop(0), codes.pop(0), codes.pop(0))
        return None

    def apply(self, codes):
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.reset()
            elif code in (1, 2, 4, 7):
                setattr(self, {1: "bold", 2: "dim", 4: "underline", 7: "reverse"}[code], True)
            elif code == 22:
                self.bold = self.dim = False
            elif code in (24, 27):
                setattr(self, {24: "underline", 27: "reverse"}[code], False)
            elif code in (38, 39):
                self.colour = self.extended(codes) if code == 38 else None
            elif code in (48, 49):
                self.ground = self.extended(codes) if code == 48 else None
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self.colour = palette(code - 30 if code < 90 else code - 82)
            elif 40 <= code <= 47 or 100 <= code <= 107:
                self.ground = palette(code - 40 if code < 100 else code - 92)

    def colours(self):
        colour, ground = self.colour or FOREGROUND, self.ground
        return (ground or BACKGROUND, colour) if self.reverse else (colour, ground)

    def attributes(self):
        colour, _ = self.colours()
        faces = [f'fill="{colour}"'] if colour != FOREGROUND else []
        faces += ['font-weight="bold"'] if self.bold else []
        faces += ['opacity="0.6"'] if self.dim else []
        faces += ['text-decoration="underline"'] if self.underline else []
        return "".join(" " + face for face in faces)


def draw_line(line, y, style):
    """The line as elements; and how many columns it has."""
    column, grounds, texts = 0, [], []
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b["):
            style.apply([int(code or 0) for code in part[2:-1].split(";")])
            continue
        if not part:
            continue
        x, width = MARGIN + column * CELL_WIDTH, len(part) * CELL_WIDTH
        _, ground = style.colours()
        if ground:
            grounds.append(f'<rect x="{x:.1f}" y="{y - 14}" width="{width:.1f}" height="{LINE_HEIGHT}" fill="{ground}"/>')
        if part.strip():
            # The width makes columns meet whatever the font.
            texts.append(f'<text x="{x:.1f}" y="{y}" textLength="{width:.1f}"{style.attributes()}>{escape(part)}</text>')
        column += len(part)
    return grounds + texts, column


def main():
    lines = sys.stdin.read().rstrip("\n").split("\n")
    style, body, columns = Style(), [], 80
    for i, line in enumerate(lines):
        elements, n = draw_line(line, MARGIN + 14 + i * LINE_HEIGHT, style)
        body += elements
        columns = max(columns, n)
    width, height = columns * CELL_WIDTH + 2 * MARGIN, len(lines) * LINE_HEIGHT + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
          f'viewBox="0 0 {width:.0f} {height}" xml:space="preserve" fill="{FOREGROUND}" '
          f'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{FONT_SIZE}">')
    print(f"<title>{escape(sys.argv[1])}</title>")
    print(f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}" stroke="{FRAME}"/>')
    print("\n".join(body))
    print("</svg>")


if len(sys.argv) != 2:
    sys.exit(__doc__.split("\n", maxsplit=1)[0])
sys.stdin.reconfigure(encoding="utf-8")
sys.stdout.reconfigure(encoding="utf-8")
main()
