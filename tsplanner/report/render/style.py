"""The page's style sheet: light and dark, screen, phone and paper."""

COLORS_LIGHT = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442", "#7f7f7f",
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#bdbdbd", "#3b4a5c",
)  # fmt: skip
"""Okabe and Ito's colors, which all readers can tell apart; from the ninth on with stripes.
The last is slate without them, for what was measured as a whole."""

COLORS_DARK = (
    "#3d9fd8", "#e9ab2a", "#1fb58a", "#e8743b", "#8ccbf0", "#d993bb", "#efe56a", "#9a9a9a",
    "#3d9fd8", "#e9ab2a", "#1fb58a", "#e8743b", "#8ccbf0", "#6f6f6f", "#7f93ab",
)  # fmt: skip
"""The same hues, light enough for a dark page."""

LIGHT = {
    "page": "#ffffff",
    "ink": "#1c2024",
    "soft": "#5a6370",
    "rule": "#d9dee4",
    "panel": "#f5f7f9",
    "good": "#006e4f",
    "warning": "#8a5a00",
    "refusal": "#a83f00",
    "training": "#3f7fb0",
    "heldout": "#d55e00",
    "stripe": "#ffffff",
}
DARK = {
    "page": "#14171a",
    "ink": "#e7eaee",
    "soft": "#a2adb9",
    "rule": "#333a42",
    "panel": "#1d2227",
    "good": "#4fd0a5",
    "warning": "#f0b84c",
    "refusal": "#f79463",
    "training": "#6ea6d4",
    "heldout": "#f0935c",
    "stripe": "#14171a",
}

RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.5;font:15px/1.5 system-ui,
-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC","PingFang SC","Microsoft YaHei",
"WenQuanYi Micro Hei",sans-serif;overflow-wrap:anywhere}
main{max-width:1240px;margin:0 auto;padding:24px 24px 48px}
h1{font-size:1.6rem;line-height:1.25;margin:.2em 0 .4em}
h2{font-size:1.2rem;margin:2.2em 0 .5em;padding-top:.5em;border-top:2px solid var(--rule)}
h3{font-size:1rem;margin:1.3em 0 .3em}
p{margin:.35em 0;max-width:88ch}
ul{margin:.35em 0;padding-left:1.2em;max-width:96ch}
li{margin:.35em 0}
nav{display:flex;flex-wrap:wrap;gap:.2em 1.1em;font-size:.9rem}
a{color:inherit}
.small{color:var(--soft);font-size:.88rem}
.good,.warning,.refusal{border-left:3px solid;padding-left:.6em}
.good{border-color:var(--good)}.warning{border-color:var(--warning)}
.refusal{border-color:var(--refusal)}
p.good{color:var(--good)}p.warning{color:var(--warning)}p.refusal{color:var(--refusal)}
ul.warning,ul.refusal{list-style:none}
table{border-collapse:collapse;margin:.6em 0;font-size:.82rem;line-height:1.35}
table.wide{width:100%}
th,td{padding:.4em .5em;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
thead th{vertical-align:bottom;color:var(--soft);font-weight:600;
border-bottom:2px solid var(--rule)}
tbody th{font-weight:600}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
thead .n{white-space:normal}
thead th{overflow-wrap:normal}
.named tr:first-child th{border-bottom:0;padding-bottom:0}
.over{font-size:.78rem}
.over th,.over td{padding-left:.25em;padding-right:.25em}
.named td:first-child{min-width:6.5em}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));
gap:20px 24px;margin:.8em 0}
figure{margin:0;min-width:0;max-width:480px;break-inside:avoid}
figcaption{font-weight:600;font-size:.85rem;margin-bottom:.2em}
svg.chart{display:block;width:100%;height:auto;background:var(--panel);border-radius:4px}
svg.swatch{width:.8em;height:.8em;vertical-align:-.05em;margin-right:.35em}
svg.defs{position:absolute}
.legend{display:flex;flex-wrap:wrap;gap:.1em 1em;font-size:.8rem;list-style:none;padding:0;
margin:.4em 0}
.legend li{margin:0;white-space:nowrap}
.legend b{font-weight:600}
.limitkey{display:inline-block;width:2px;height:.9em;background:var(--refusal);
vertical-align:-.1em;margin-right:.5em}
text{font-size:11px;fill:var(--soft);font-family:inherit}
text.best{fill:var(--ink);font-weight:600;stroke:var(--panel);stroke-width:3px;paint-order:stroke}
.grid{stroke:var(--rule);stroke-width:1}
.base{stroke:var(--soft);stroke-width:1}
.epoch{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3;opacity:.7}
polyline{fill:none;stroke-linejoin:round}
.training{stroke:var(--training);stroke-width:1.3}
.heldout{stroke:var(--heldout);stroke-width:2.4}
.dot{fill:var(--heldout)}
.ring{fill:none;stroke:var(--ink);stroke-width:1.6}
.part{stroke:var(--panel);stroke-width:.8}
.stripe{fill:var(--stripe);opacity:.55}
.bound{stroke:var(--ink);stroke-width:1.5}
.limit{stroke:var(--refusal);stroke-width:2}
text.key-training,text.key-heldout{font-weight:600}
text.key-training{fill:var(--training)}
text.key-heldout{fill:var(--heldout)}
"""

CARDS = """
{t},{t} thead,{t} tbody,{t} tr,{t} th,{t} td{{display:block}}
{t} thead{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}
{t} tbody{{border:1px solid var(--rule);border-radius:6px;margin:.7em 0;padding:.3em .7em}}
{t} th,{t} td{{border:0;padding:.15em 0;text-align:left;white-space:normal}}
{t} td{{display:flex;justify-content:space-between;gap:1em}}
{t} td::before{{content:attr(data-label);color:var(--soft);flex:0 1 45%}}
{t} td>span{{text-align:right;flex:0 1 55%}}
{t} tbody th{{font-size:.95rem}}
"""
"""A table's rows as cards, each cell with its heading before it."""

PHONE = (
    f"@media screen and (max-width:760px){{main{{padding:14px 14px 36px}}"
    f"{CARDS.format(t='.wide')}}}"
    f"@media screen and (max-width:1120px){{{CARDS.format(t='.over')}}}"
    "@media screen and (min-width:1121px){.over td:nth-child(-n+3){overflow-wrap:normal}}"
)

PAPER = """
@media print{body{font-size:10pt}main{max-width:none;padding:0}nav{display:none}
h2,h3{break-after:avoid}tbody,figure{break-inside:avoid}table{font-size:7pt}
th,td{padding:.25em .3em}.charts{grid-template-columns:1fr 1fr}}
@page{size:A4 landscape;margin:12mm}
"""


def _variables(names: dict[str, str], colors: tuple[str, ...]) -> str:
    pairs = [*names.items(), *((f"c{index}", color) for index, color in enumerate(colors))]
    return ":root{" + "".join(f"--{name}:{value};" for name, value in pairs) + "}"


def style_sheet(*, dark: bool = True) -> str:
    """The whole sheet; without ``dark`` the light one for every reader."""
    fills = "".join(f".c{index}{{fill:var(--c{index})}}" for index in range(len(COLORS_LIGHT)))
    light, night = _variables(LIGHT, COLORS_LIGHT), _variables(DARK, COLORS_DARK)
    scheme = ":root{color-scheme:light dark}" if dark else ""
    by_night = f"@media screen and (prefers-color-scheme:dark){{{night}}}" if dark else ""
    return f"{scheme}{light}{by_night}{RULES}{fills}{PHONE}{PAPER}"
