# SPDX-License-Identifier: Apache-2.0
#
# usage: awk -f plot_levels.awk levels.tsv >levels.svg
#
# A panel for each data set: size of the image, in percent of the source, against seconds of all
# processors (logarithmic). One line for the levels, one for the chunk sizes; left and low is better.

BEGIN {
	FS = "\t"
	PANEL_W = 460; PANEL_H = 380; COLUMNS = 2
	LEFT = 62; RIGHT = 22; TOP = 44; BOTTOM = 50; HEAD = 62
	COLOUR["level"] = "#1f5fa8"; COLOUR["chunk"] = "#c2571a"
	NAME["level"] = "by level, default chunk size"
	NAME["chunk"] = "by chunk size, level 3"
}

NR > 1 {
	if (!($1 in number)) {
		number[$1] = ++sets
		set[sets] = $1
		source[sets] = $4
	}
	s = number[$1]
	n = ++points[s, $2]
	label[s, $2, n] = $3
	x[s, $2, n] = 100 * $5 / $4
	y[s, $2, n] = $7 > 0.01 ? $7 : 0.01
	bound(s, x[s, $2, n], y[s, $2, n])
}

function bound(s, px, py) {
	if (!(s in x_min) || px < x_min[s]) x_min[s] = px
	if (!(s in x_max) || px > x_max[s]) x_max[s] = px
	if (!(s in y_min) || py < y_min[s]) y_min[s] = py
	if (!(s in y_max) || py > y_max[s]) y_max[s] = py
}

function log10(v) { return log(v) / log(10) }
function floor(v) { return int(v) > v ? int(v) - 1 : int(v) }

# A step of 1, 2 or 5 times a power of ten that gives about five marks.
function step_of(range, raw, power) {
	raw = range / 5
	power = exp(floor(log10(raw)) * log(10))
	return power * (raw / power < 1.5 ? 1 : raw / power < 3.5 ? 2 : raw / power < 7.5 ? 5 : 10)
}

function px(s, v) { return LEFT + (v - lo[s]) / (hi[s] - lo[s]) * (PANEL_W - LEFT - RIGHT) }
function py(s, v) {
	return PANEL_H - BOTTOM - (log10(v) - log10(bottom[s])) / (log10(top[s]) - log10(bottom[s])) * (PANEL_H - TOP - BOTTOM)
}

function text(tx, ty, anchor, size, colour, words) {
	printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" font-size=\"%d\" fill=\"%s\">%s</text>\n", tx, ty, anchor, size, colour, words
}

function line(x1, y1, x2, y2, colour) {
	printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2, colour
}

function axes(s, step, v, k, m, digits, tick) {
	step = step_of((x_max[s] - x_min[s]) * 1.1 + 0.01)
	lo[s] = floor(x_min[s] / step - 0.2) * step
	hi[s] = (floor(x_max[s] / step + 0.4) + 1) * step
	bottom[s] = y_min[s] / 1.4
	top[s] = y_max[s] * 1.4
	digits = step < 0.1 ? 2 : step < 1 ? 1 : 0
	for (v = lo[s]; v <= hi[s] + step / 2; v += step) {
		line(px(s, v), TOP, px(s, v), PANEL_H - BOTTOM, "#e4e4e4")
		text(px(s, v), PANEL_H - BOTTOM + 16, "middle", 11, "#444", sprintf("%.*f", digits, v))
	}
	for (k = floor(log10(bottom[s])); k <= log10(top[s]); k++)
		for (m = 1; m <= 5; m += m == 1 ? 1 : 3) {
			tick = m * exp(k * log(10))
			if (tick < bottom[s] || tick > top[s])
				continue
			line(LEFT, py(s, tick), PANEL_W - RIGHT, py(s, tick), "#e4e4e4")
			text(LEFT - 6, py(s, tick) + 4, "end", 11, "#444", sprintf("%g", tick))
		}
	text(PANEL_W / 2 + 20, PANEL_H - 14, "middle", 12, "#222", "size of the image, percent of the source")
	printf "<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\" font-size=\"12\" fill=\"#222\">CPU seconds</text>\n", PANEL_H / 2
	text(LEFT, TOP - 14, "start", 14, "#000", sprintf("%s, %.0f MB", set[s], source[s] / 1e6))
}

# Where the curve of levels is not: labels of levels stand right above their point, those of chunk
# sizes below it, or above when they are right of level 3, where the curves cross. One that would touch
# the last one is left out, its point stays.
function curve(s, kind, n, path, level, cx, cy, last_x, last_y) {
	if (!points[s, kind])
		return
	for (n = 1; n <= points[s, kind]; n++)
		path = path sprintf("%s%.1f %.1f", n == 1 ? "M" : "L", px(s, x[s, kind, n]), py(s, y[s, kind, n]))
	printf "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\"/>\n", path, COLOUR[kind]
	level = kind == "level"
	last_x = last_y = -100
	for (n = 1; n <= points[s, kind]; n++) {
		cx = px(s, x[s, kind, n])
		cy = py(s, y[s, kind, n])
		printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", cx, cy, COLOUR[kind]
		if ((cx - last_x) ^ 2 < (level ? 14 : 34) ^ 2 && (cy - last_y) ^ 2 < 11 ^ 2)
			continue
		text(cx + (level ? 6 : 0), cy + (level ? -4 : right_of_level_3(s, x[s, kind, n]) ? -8 : 16), level ? "start" : "middle", 11, COLOUR[kind], label[s, kind, n])
		last_x = cx
		last_y = cy
	}
}

function right_of_level_3(s, v, n) {
	for (n = 1; n <= points[s, "level"]; n++)
		if (label[s, "level", n] == 3)
			return v > x[s, "level", n] * 1.0002
	return 0
}

function legend(kind, lx) {
	printf "<line x1=\"%d\" y1=\"46\" x2=\"%d\" y2=\"46\" stroke=\"%s\" stroke-width=\"2\"/>\n", lx, lx + 24, COLOUR[kind]
	text(lx + 30, 50, "start", 12, "#222", NAME[kind])
}

END {
	if (!sets)
		exit 1
	columns = sets < COLUMNS ? sets : COLUMNS
	width = columns * PANEL_W
	height = HEAD + int((sets + columns - 1) / columns) * PANEL_H
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\">\n", width, height
	printf "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", width, height
	text(16, 26, "start", 16, "#000", "assetpack build: size against time")
	legend("level", 16)
	legend("chunk", 236)
	for (s = 1; s <= sets; s++) {
		printf "<g transform=\"translate(%d %d)\">\n", (s - 1) % columns * PANEL_W, HEAD + int((s - 1) / columns) * PANEL_H
		axes(s)
		curve(s, "level")
		curve(s, "chunk")
		print "</g>"
	}
	print "</svg>"
}
