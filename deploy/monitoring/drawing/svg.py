"""A few elements of SVG, with coordinates as short as they may be."""
from xml.sax.saxutils import escape

COLORS = {"green": "#2f8f46", "yellow": "#d29a00", "red": "#cf3341", "blue": "#2f6fc4", "purple": "#8450b5",
          "orange": "#df7415"}
SERIES = ("#2f8f46", "#d29a00", "#2f6fc4", "#df7415", "#cf3341", "#8450b5", "#158a8a", "#b8478f", "#6c7a2b",
          "#5b6b86", "#a0522d", "#4c9be8", "#8fb339", "#e08fb0", "#2e4a7d", "#c2a24a", "#5fb8a5", "#7d2e4a", "#9c8fd9",
          "#444444")
INK, FAINT, LINES, GROUND, PANEL = "#1d2636", "#5a6678", "#e3e7ee", "#f3f5f8", "#ffffff"
WIDE, NARROW = set("mwMW—@%"), set("iljtfrI.,:;|'!()[] ")


def color_of(name):
    return COLORS.get(name, name)


def ink_on(color):
    """White, or ink where the ground is light."""
    red, green, blue = (int(color[at:at + 2], 16) for at in (1, 3, 5))
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 165 else "#ffffff"


def number(value):
    return f"{value:.1f}".rstrip("0").rstrip(".") if value % 1 else str(int(value))


def width_of(text, size):
    """About how wide a text is, in pixels."""
    return size * sum(0.9 if letter in WIDE else 0.36 if letter in NARROW else 0.62 for letter in text)


def cut(text, size, width):
    """The text, or as much of its beginning as has room."""
    if width_of(text, size) <= width:
        return text
    while text and width_of(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text, size, width):
    """Lines of bold text that have room."""
    lines, width = [""], 0.9 * width
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width_of(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def words(x, y, text, size=11, fill=INK, anchor="", weight=""):
    more = (f' text-anchor="{anchor}"' if anchor else "") + (f' font-weight="{weight}"' if weight else "")
    place = f'x="{number(x)}" y="{number(y)}" font-size="{number(size)}"'
    return f'<text {place} fill="{fill}"{more}>{escape(text)}</text>'


def box(x, y, width, height, fill, more=""):
    return (f'<rect x="{number(x)}" y="{number(y)}" width="{number(max(0, width))}" '
            f'height="{number(max(0, height))}" fill="{fill}"{more}/>')


def line(x1, y1, x2, y2, stroke=LINES, more=""):
    return f'<path d="M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}" stroke="{stroke}"{more}/>'


def along(points):
    """A path through points, in steps of tenths of a pixel from one to the next."""
    at = [(round(10 * x), round(10 * y)) for x, y in points]
    (x, y), path = at[0], [f"M{number(at[0][0] / 10)} {number(at[0][1] / 10)}"]
    for next_x, next_y in at[1:]:
        across, down = number((next_x - x) / 10), number((next_y - y) / 10)
        path.append(f"h{across}" if down == "0" else f"l{across} {down}")
        x, y = next_x, next_y
    return "".join(path)
