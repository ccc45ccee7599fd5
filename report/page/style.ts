/** The page's style sheet and its few lines of script, inline and named by hash in the content policy. */
import { createHash } from "node:crypto";
import { PALETTE_CSS } from "../charts/palette.ts";

export const STYLE = `${PALETTE_CSS}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:78rem;padding:.8rem 1.25rem 1.5rem;background:var(--paper);color:var(--ink);font:.92rem/1.36 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:break-word}
a{color:var(--link)}
a:focus-visible,summary:focus-visible,button:focus-visible,.scroll:focus-visible{outline:2px solid var(--link);outline-offset:2px}
a.figure{color:inherit;text-decoration:underline dotted var(--muted);text-underline-offset:3px;text-decoration-thickness:1px}
a.anchor{color:var(--muted);text-decoration:none;font-weight:400;opacity:.45}
a.anchor:hover,a.anchor:focus{opacity:1}
.skip{position:absolute;left:-999rem}
.skip:focus{left:1rem;top:1rem;background:var(--paper);padding:.5rem 1rem;z-index:1}
h1{font-size:1.05rem;font-weight:600;color:var(--muted);margin:0}
h2{font-size:1.5rem;line-height:1.25;margin:2.5rem 0 .5rem}
h1+h2,header+main>article:first-child>h2{margin-top:.35rem}
h3{font-size:1.2rem;line-height:1.3;margin:1rem 0 .3rem;padding-top:.5rem;border-top:1px solid var(--faint)}
h4{font-size:1rem;line-height:1.3;margin:.8rem 0 .2rem}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1rem;padding:0;margin:1rem 0;font-size:.9rem}
code,pre{font:.86em/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{overflow-wrap:anywhere}
pre{background:var(--panel);padding:.75rem 1rem;overflow-x:auto;border-radius:4px;white-space:pre-wrap;overflow-wrap:anywhere}
.muted,.unit,.reason,figcaption p,caption{color:var(--muted)}
p{margin:.5rem 0}
.muted{font-size:.88rem}
.bad{color:var(--bad)}
.same{color:var(--muted);font-style:italic}
.note{border-left:3px solid var(--vermillion);padding-left:.75rem}
.verdict{font-size:1.3rem;line-height:1.4;font-weight:600;margin:.75rem 0 1rem;text-wrap:pretty}
.key-figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr));gap:.75rem;margin:0 0 1rem}
.key-figures>div{background:var(--panel);border-radius:4px;padding:.45rem .9rem .5rem}
.key-figures dt{color:var(--muted);font-size:.9rem}
.key-figures dd{margin:0;font-size:.86rem;color:var(--muted)}
.key-figures dd.value{font-size:1.5rem;line-height:1.3;font-weight:600;color:var(--ink)}
.pairs{margin:.5rem 0}
.pairs>div{display:grid;grid-template-columns:12rem 1fr;gap:0 1rem;padding:.12rem 0}
.pairs dt{color:var(--muted)}
.pairs dd{margin:0;min-width:0}
figure{margin:0 0 .9rem}
figcaption h4{margin-top:.6rem}
figcaption p{font-size:.86rem;line-height:1.4;margin:0 0 .6rem}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(17.5rem,1fr));gap:0 1.75rem;align-items:start}
.panels figure{display:grid;grid-template-rows:subgrid;grid-row:span 3;min-width:0}
article{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:0 1.75rem;align-items:start}
article>*{grid-column:1/-1;min-width:0}
article>.half{grid-column:auto}
.duo{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:0 1.75rem;align-items:start}
.duo>*{min-width:0}
.columns{columns:30rem;column-gap:2rem;font-size:.82rem;line-height:1.3;margin:.4rem 0;padding-left:1.2rem}
.entries{columns:17rem;font-size:.86rem;column-gap:1.75rem}
.full>figure:not(:has(svg[viewBox^="0 0 1200"])){max-width:58rem}
.duo table,.half table{font-size:.78rem}
.duo .dense{font-size:.72rem}
.dense th,.dense td{padding-right:.35rem}
.dense td{padding-top:.12rem;padding-bottom:.12rem}
details{margin:.4rem 0}
summary{cursor:pointer;color:var(--muted);font-size:.9rem}
details.cell>summary{color:inherit;padding:.15rem 0}
details.cell[open]{border-left:3px solid var(--faint);padding-left:.75rem}
p.cell{font-size:.86rem;margin:.4rem 0}
p.cell:target{background:var(--panel);outline:2px solid var(--link);outline-offset:3px}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.86rem;line-height:1.35;margin:.25rem 0 .75rem}
caption{text-align:left;padding-bottom:.3rem;max-width:calc(100vw - 2.5rem)}
th,td{padding:.2rem .7rem .2rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--faint)}
th{vertical-align:bottom;font-weight:600}
thead th{border-bottom-color:var(--muted)}
td code,td:first-child{white-space:nowrap}
td .reason{display:inline-block;min-width:12rem}
.sortable td{white-space:nowrap;padding-top:.04rem;padding-bottom:.04rem}
.sortable td .reason{white-space:normal}
.num{text-align:right;white-space:nowrap}
th.num{white-space:normal}
.num:last-child{padding-right:.2rem}
tr.chosen td{background:var(--panel);font-weight:600}
td .reason{font-size:.92em}
th .unit{font-weight:400;display:block;font-size:.92em}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-align:inherit}
th[aria-sort=ascending] button::after{content:" ▲"}
th[aria-sort=descending] button::after{content:" ▼"}
svg.chart{display:block;width:100%;height:auto;overflow:visible;fill:var(--ink);font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
.slim{display:none;max-width:34rem}
.chart text{paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}
.chart .tick,.chart .name,.chart .muted{fill:var(--muted);font-size:12.5px}
.chart .tick{font-size:12px}
.chart .strong{font-weight:600}
.chart .bad{fill:var(--bad);font-weight:600}
.chart .axis{stroke:var(--muted)}
.chart .grid{stroke:var(--faint)}
.chart .pointer{stroke:var(--ink);stroke-dasharray:3 3;opacity:.7}
.chart .leader{stroke:var(--muted);stroke-width:.8}
.chart .line,.chart .interval,.chart .front{fill:none;stroke-width:1.6}
.chart .front{stroke:var(--blue)}
.chart .raw{fill:none;stroke-width:3.2;stroke-linecap:round;opacity:var(--raw)}
.chart .ring{fill:none;stroke:var(--ink);stroke-width:1.5}
.chart .swatch,.chart .segment{stroke:var(--paper);stroke-width:.6}
.chart .planned{opacity:.45}
.chart .hatch{stroke:var(--paper);stroke-width:1;fill:none;stroke-opacity:.6;pointer-events:none}
.chart .dotted{stroke-width:1.8;stroke-linecap:round;stroke-dasharray:0 6}
.chart .thin{fill:none;stroke-width:.7;opacity:.55}
.chart .band{opacity:.16}
.context{fill:none;stroke:var(--muted);stroke-width:1;opacity:.4}
.chart .held-out{fill:none;stroke:var(--ink);stroke-width:4;stroke-linecap:round}
.chart .box{fill:var(--paper);fill-opacity:.55;stroke-width:1.2}
.chart .median{stroke-width:2.6}
.chart text.cell{stroke:none;font-size:12px}
.chart text.planned-text{font-style:italic}
.chart .on{fill:var(--ink)}
.chart .off{fill:none;stroke:var(--muted)}
.chart .faint{opacity:.45}
.claims{table-layout:fixed;width:100%;font-size:.76rem;line-height:1.25}
.claims summary{font-size:1em}
.sortable{font-size:.75rem;line-height:1.22}
.entries h4{margin:.5rem 0 0}
.entries details.cell>summary{padding:0}
.entries details{margin:.05rem 0}
.entries summary{font-size:.78rem;line-height:1.3}
.claims th:nth-child(1){width:2.6rem}
.claims th:nth-child(2){width:21%}
.claims th:nth-child(3){width:25%}
.claims th:nth-child(5){width:13%}
.claims .reason{display:inline;min-width:0}
.claims td:first-child{font-weight:600}
.claims td{padding-top:.18rem;padding-bottom:.18rem;overflow-wrap:anywhere}
.claims details{margin:.1rem 0 0}
.budgets td:first-child{white-space:normal;min-width:6.5rem}
.budgets td:nth-child(2){min-width:9rem}
@media screen and (max-width:66rem){article>.half{grid-column:1/-1}}
@media screen and (max-width:45rem){.claims,.claims tbody,.claims tr,.claims td,.claims caption{display:block;min-width:0}.claims thead{display:none}.claims tr{border-bottom:1px solid var(--muted);padding:.5rem 0}.claims td{border:0;padding:.1rem 0}.claims td:nth-child(4)::before{content:"Here: ";color:var(--muted)}.claims td:nth-child(5)::before{content:"Paper: ";color:var(--muted)}.wide{display:none}.slim{display:block}.pairs>div{grid-template-columns:1fr}.pairs dd{padding-bottom:.3rem}body{padding:.75rem 1rem 3rem}.verdict{font-size:1.15rem}h2{font-size:1.3rem}}
@media print{body{max-width:none;padding:0;font-size:10pt}.panels{grid-template-columns:repeat(3,minmax(0,1fr));gap:0 1rem}.key-figures{grid-template-columns:repeat(3,1fr)}.key-figures>div,pre,tr.chosen td{background:none;border:1px solid var(--faint)}nav,.skip,a.anchor,details.numbers:not([open]),#copy{display:none}a{color:inherit}figure,tr,h3,h4,.key-figures{break-inside:avoid}h3,h4,figcaption{break-after:avoid}.scroll{overflow:visible}table{font-size:7.5pt}th,td{padding-right:.4rem}.sortable{font-size:6.2pt}.sortable td{white-space:normal}.sortable td:not(:first-child):not(.num){overflow-wrap:anywhere}.sortable td .reason{min-width:0}.sortable th:last-child:not(.num),.sortable td:last-child:not(.num){display:none}details.cell:not([open])>summary{font-size:8pt;padding:0}}
@page{margin:14mm}`;

/** Sorting of tables, and opening of the details a link leads into where the browser does not. */
export const SCRIPT =
  `for(const table of document.querySelectorAll("table.sortable")){const body=table.tBodies[0];
[...table.tHead.rows[0].cells].forEach((head,column)=>{if(!("sortable" in head.dataset))return;
const button=document.createElement("button");button.type="button";button.append(...head.childNodes);head.append(button);
button.addEventListener("click",()=>{const down=head.getAttribute("aria-sort")==="ascending";
for(const other of table.tHead.rows[0].cells)other.removeAttribute("aria-sort");
head.setAttribute("aria-sort",down?"descending":"ascending");
const numeric=head.classList.contains("num");const key=row=>row.cells[column].dataset.sort;
body.append(...[...body.rows].sort((a,b)=>{const[x,y]=[key(a),key(b)];
if(x===undefined||y===undefined)return(x===undefined)-(y===undefined);
const order=numeric?x-y:x<y?-1:x>y?1:0;return down?-order:order;}));});});}
function reveal(){const target=document.getElementById(decodeURIComponent(location.hash.slice(1)));
const details=target&&target.closest("details");if(details){details.open=true;target.scrollIntoView();}}
addEventListener("hashchange",reveal);reveal();`;

function sourceHash(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}

/** Nothing may be loaded, and only this style and this script run: text smuggled into a record could not. */
export const POLICY = [
  "default-src 'none'",
  `style-src ${sourceHash(STYLE)}`,
  `script-src ${sourceHash(SCRIPT)}`,
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");
