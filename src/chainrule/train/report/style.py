"""How the page looks: light and dark, on a screen, on a phone and on paper."""

from ..charts.drawing import DARK, LIGHT, RULES

FINDINGS = """dl{margin:0}dd{margin:0}
article{display:grid;grid-template-columns:7rem 1fr;gap:.4rem 1.5rem;padding:1.1rem 0;
border-bottom:1px solid var(--rule)}
article:last-child{border:0}article h3{margin:0 0 .4rem}
.level{font-size:.82rem;margin:.15rem 0 0;color:var(--c1)}
.warning .level{color:var(--lost)}.good .level{color:var(--c3)}
.why>div{display:grid;grid-template-columns:4.5rem 1fr;max-width:42rem;margin-top:.2rem}
.why dt{padding-top:.2rem}.why dt::first-letter{text-transform:uppercase}
.why ul{margin:0;padding-left:1.1rem}
.kind{font-size:.85rem;color:var(--soft);margin:0 0 .5rem}
.score{color:var(--soft)}"""
TABLES = """.wide{overflow-x:auto}
table{overflow-wrap:break-word;border-collapse:collapse;font-size:.85rem}
th,td{padding:.38rem 0 .38rem var(--gap,2rem);text-align:right;border-bottom:1px solid var(--rule);
font-weight:400;white-space:nowrap}
th{color:var(--soft)}.word{text-align:left;white-space:normal;overflow-wrap:break-word}
th:first-child,td:first-child{padding-left:0}"""

PAGE = f"""
:root{{{LIGHT}--tint:color-mix(in srgb,var(--c1) 16%,transparent)}}
@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}
@media print{{:root{{{LIGHT}--paper:#fff}}}}
{RULES}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--paper);color:var(--ink);
font:17px/1.55 Charter,"Bitstream Charter","Iowan Old Style","Palatino Linotype",Georgia,serif;
font-variant-numeric:tabular-nums lining-nums;overflow-wrap:anywhere}}
main{{max-width:62rem;margin:0 auto;padding:4rem 1.5rem 6rem}}
h1{{font-size:2.3rem;line-height:1.15;font-weight:600;margin:.2rem 0 1.2rem;letter-spacing:-.01em}}
h2{{font-size:1.35rem;font-weight:600;margin:0 0 1.2rem}}
h3{{font-size:1.02rem;font-weight:600;margin:2rem 0 .6rem}}
p,ul,figcaption{{max-width:42rem}}p{{margin:0 0 1rem}}ul{{padding-left:1.2rem}}
section{{margin-top:3.2rem;padding-top:1.6rem;border-top:1px solid var(--rule)}}
.over,nav,dt,th,table,figcaption,summary,.level,.versions{{
font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}}
.over,nav,dt,figcaption{{font-size:.82rem;color:var(--soft)}}.over{{margin:0}}
.verdict{{font-size:1.28rem;line-height:1.45;margin:0 0 2rem}}
.numbers{{display:flex;flex-wrap:wrap;gap:1.2rem 3rem}}
.numbers dd{{font-size:1.65rem;line-height:1.3;white-space:nowrap}}
.numbers small{{font-size:.9rem;color:var(--soft)}}
nav{{margin-top:2.4rem}}nav a{{color:var(--soft)}}
a{{color:var(--c1);text-decoration-thickness:1px;text-underline-offset:3px}}
figure{{margin:0;min-width:0}}figcaption{{margin-top:.6rem}}
.pair h3{{margin-top:0}}
.pair{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));
gap:2.2rem 3rem;margin-bottom:1.4rem}}
.roomy{{grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));
--gap:1.2rem;--bar:5rem}}
{TABLES}
.bar{{display:inline-block;width:var(--bar,7.5rem);padding:0 .3rem;
background:linear-gradient(to right,var(--tint) calc(var(--v,0)*100%),transparent 0)}}
.facts{{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:1rem 2rem}}
{FINDINGS}
summary{{font-size:.9rem;cursor:pointer;color:var(--soft)}}details{{margin-top:1rem}}
pre{{font:.8rem/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
overflow-x:auto;overflow-wrap:normal;margin:1rem 0 0}}
blockquote{{font:.85rem/1.6 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
white-space:pre-wrap;margin:0 0 1.6rem;padding-left:1.2rem;border-left:2px solid var(--rule)}}
.pictures{{display:grid;grid-template-columns:repeat(auto-fill,minmax(6rem,8rem));gap:1.4rem;
margin-top:1.6rem}}
.pictures img{{width:100%;image-rendering:pixelated;border:1px solid var(--rule)}}
.strips{{display:grid;grid-template-columns:minmax(4rem,max-content) 1fr;gap:.7rem 1.2rem;
align-items:center}}.strips dd{{display:flex;flex-wrap:wrap;gap:.4rem}}
.strips img{{width:3.6rem}}.tiles{{display:flex;flex-wrap:wrap;gap:.7rem}}.tiles img{{width:3rem}}
.maps{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr));
gap:1.6rem 2rem;margin-top:1.6rem}}
.triple{{display:grid;grid-template-columns:1fr 1fr 1fr;gap:.3rem}}.triple img{{width:100%}}
.strips img,.tiles img,.triple img{{image-rendering:pixelated;border:1px solid var(--rule);
height:auto;align-self:center}}
@media(max-width:40rem){{main{{padding:2rem 1.1rem 4rem}}h1{{font-size:1.75rem}}
.verdict{{font-size:1.12rem}}.numbers{{gap:1rem 2rem}}.numbers dd{{font-size:1.3rem}}
.chart{{font-size:14px}}.wide>.chart{{min-width:calc(.74*var(--w))}}
article{{grid-template-columns:1fr}}table{{--gap:.7rem;--bar:3.6rem}}}}
@media print{{body{{font-size:10.5pt}}main{{max-width:none;padding:0}}nav{{display:none}}
.pair{{grid-template-columns:1fr 1fr;gap:1.4rem 2rem}}section{{margin-top:2rem}}
figure,tr,article{{break-inside:avoid}}h2,h3{{break-after:avoid}}.wide{{overflow:visible}}
.chart,.bar{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
details::details-content{{content-visibility:visible;height:auto}}
pre{{white-space:pre-wrap}}}}
"""
