// How the page looks, and the little that scripts add: sorting, filtering, pointing at a device's shards.
#include "tools/plan/page/parts.h"

namespace optp::page {
// Device colours are Okabe and Ito's, told apart by colour-blind readers; each also bears its number.
const char* const style = R"css(
:root{--page:#fbfbfa;--card:#fff;--ink:#1b1e23;--soft:#565d68;--line:#e1e4e8;--mark:#0b5fa5;--tint:#eaf2f9;--warn:#8a4a00;--bad:#b3261e;
--k0:#2f6fad;--k1:#c46a00;--k2:#2b8a63;--k3:#8a5aa8;--k4:#7c8590;--hatch:rgba(255,255,255,.75);--whole:#cfd5dc}
@media(prefers-color-scheme:dark){:root{--page:#131519;--card:#1a1d22;--ink:#e5e7eb;--soft:#a6adb8;--line:#31363f;--mark:#80bdf7;--tint:#1d2a38;--warn:#f0b060;--bad:#ff8a80;
--k0:#4f93d4;--k1:#e0903a;--k2:#4bb488;--k3:#b58ad0;--k4:#98a1ac;--hatch:rgba(19,21,25,.7);--whole:#4a515c}}
*{box-sizing:border-box}
html{scroll-padding-top:1rem}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1160px;margin:0 auto;padding:2.5rem 1.5rem 4rem}
h1{font-size:2rem;line-height:1.2;margin:.1rem 0 .6rem;overflow-wrap:anywhere;letter-spacing:-.01em}
h2{font-size:1.35rem;margin:0 0 .8rem;letter-spacing:-.005em}h3{font-size:1rem;margin:1.6rem 0 .5rem}h4{font-size:.9rem;margin:0 0 .2rem}
p{margin:.35rem 0 .7rem;max-width:52rem;overflow-wrap:anywhere}
a{color:var(--mark);text-decoration-thickness:1px;text-underline-offset:2px}
:focus-visible{outline:2px solid var(--mark);outline-offset:2px}
code{font:.88em ui-monospace,monospace}
small,.note{color:var(--soft);font-size:.87rem}
.kicker{color:var(--soft);margin:0;font-size:.87rem;letter-spacing:.02em}
.lead{font-size:1.07rem}
.answer{font-size:1.02rem}
section{margin-top:3.6rem}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1.3rem;margin-top:1.6rem;padding:.7rem 0;border-block:1px solid var(--line)}
footer{margin-top:3.5rem;color:var(--soft);font-size:.87rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:1px;margin:1.8rem 0 0;background:var(--line);border:1px solid var(--line);border-radius:8px;overflow:hidden}
.figure{background:var(--card);padding:1rem 1.1rem}
.figure dt{color:var(--soft);font-size:.87rem}.figure dd{margin:0}.figure b{font-size:1.6rem;font-weight:600;letter-spacing:-.01em}.figure p{margin:.2rem 0 0;font-size:.87rem;color:var(--soft)}.figure p span{white-space:nowrap}
.mesh{margin:1rem 0 0}.mesh figcaption{color:var(--soft);font-size:.87rem;margin-bottom:.35rem}.mesh figcaption b{color:var(--ink)}
.mesh div{display:flex;flex-wrap:wrap;align-items:center;gap:4px;margin-bottom:4px}.mesh span{color:var(--soft);font-size:.87rem;min-width:5rem}.mesh .dev{min-width:2.3rem;padding:.35rem .4rem;font-size:.9rem}
.dev{display:inline-block;min-width:1.35em;padding:0 .3em;margin-right:2px;border-radius:3px;font-style:normal;font-weight:600;font-size:.85em;line-height:1.5;text-align:center;color:#111;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.c0{background:#0072b2;fill:#0072b2}.dev.c0{color:#fff}.c1{background:#e69f00;fill:#e69f00}.c2{background:#009e73;fill:#009e73}.c3{background:#e8702a;fill:#e8702a}.c4{background:#56b4e9;fill:#56b4e9}.c5{background:#cc79a7;fill:#cc79a7}.c6{background:#f0e442;fill:#f0e442}.c7{background:#a8b0b8;fill:#a8b0b8}
.call{fill:var(--whole)}.dev.all{background:var(--whole);color:var(--ink)}
.hatch{fill:url(#hatch)}#hatch path{stroke:var(--hatch);stroke-width:4}
.copies{background:repeating-linear-gradient(45deg,#0072b2 0 4px,#e69f00 4px 8px)}
.k0{background:var(--k0)}.k1{background:var(--k1)}.k2{background:var(--k2)}.k3{background:var(--k3)}.k4{background:var(--k4)}
.copy{background-image:repeating-linear-gradient(45deg,transparent 0 3px,var(--hatch) 3px 6px)}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;padding:0;margin:.8rem 0}.legend i,.bar i{print-color-adjust:exact;-webkit-print-color-adjust:exact}.legend i{display:inline-block;width:.9em;height:.9em;border-radius:2px;margin-right:.4em;vertical-align:-.08em}
.bars{display:grid;gap:5px}.row{display:grid;grid-template-columns:minmax(2.2rem,auto) 1fr 6.2rem;gap:.7rem;align-items:center}.bar{display:flex;height:20px;background:var(--tint);border-radius:3px;overflow:hidden}.bar i{height:100%;flex:none}
.scroll{overflow-x:auto;margin:.6rem 0 1rem;border:1px solid var(--line);border-radius:8px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:.87rem}
th,td{padding:.36rem .7rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}tbody tr:last-child td{border-bottom:0}
th{font-weight:600;color:var(--soft);white-space:nowrap}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--mark)}th[aria-sort] button::after{content:" ↓"}th[aria-sort=ascending] button::after{content:" ↑"}
.n,#tensors td:nth-child(5),#tensors th:nth-child(5){text-align:right;white-space:nowrap}
.text{min-width:15rem}.wide{min-width:84rem}.wide td:nth-child(-n+4){white-space:nowrap}
.sum td{font-weight:600;border-top:1px solid var(--line)}
.name,#tensors td:first-child,#tensors td:last-child{overflow-wrap:anywhere;min-width:15rem}
tr:target,span:target{background:var(--tint)}
.chip{font-size:.87em;color:var(--soft);white-space:nowrap}.chip b{color:var(--ink);background:var(--tint);border:1px solid var(--line);border-radius:3px;padding:0 .25em;font-weight:600}.chip em{color:var(--warn);font-style:normal;font-weight:600}
.flow{display:grid;gap:14px;margin:.7rem 0}
.step,.joint{position:relative}.step:not(:first-child)::before,.joint:not(:first-child)::before{content:"";position:absolute;left:2rem;top:-14px;height:14px;border-left:2px solid var(--line)}
.step{display:flex;flex-wrap:wrap;gap:8px}
.box{flex:1 1 15rem;min-width:0;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.55rem .8rem}
.box p{margin:.1rem 0;overflow-wrap:anywhere;font-size:.9rem}.box .chip{white-space:normal}.box .result{color:var(--soft)}
@media(min-width:800px){.box:only-child{display:grid;grid-template-columns:10.5rem minmax(0,1fr) minmax(0,24rem);gap:0 1rem;align-items:baseline}.box:only-child .result{text-align:left}}
.joint{background:var(--tint);border-left:4px solid var(--mark);border-radius:4px;padding:.45rem .8rem;font-size:.92rem}.joint span{color:var(--soft)}.joint>span:last-child{display:block}
summary{cursor:pointer;padding:.15rem 0}.layers{border-left:2px solid var(--line);padding-left:1rem;margin:1.2rem 0}
.atlas{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:14px}
article{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem;min-width:0;break-inside:avoid}
article h3{margin:0 0 .2rem;overflow-wrap:anywhere}article p{overflow-wrap:anywhere;margin:.15rem 0;font-size:.9rem}article svg{display:block;max-width:100%;height:auto;margin:.5rem 0}article svg text{font:600 11px system-ui,sans-serif;text-anchor:middle;fill:#111}article svg .t0{fill:#fff}article svg .th{stroke:#fff;stroke-width:4px;paint-order:stroke}
article svg>path{stroke:var(--card);stroke-width:1}article svg.fine>path{stroke-width:.1}
.ranges{overflow-wrap:anywhere}.ranges span{white-space:nowrap}ul.ranges{list-style:none;padding:0;margin:.2rem 0;font-size:.9rem}
.names{overflow-wrap:anywhere;font-size:.82rem}
.tools input{font:inherit;color:inherit;background:var(--card);border:1px solid var(--soft);border-radius:5px;padding:.3rem .5rem;width:16rem;max-width:100%}.tools output{color:var(--soft)}
.fails{color:var(--bad)}
.time{display:block;min-width:62rem;width:100%;height:auto;padding:.5rem .7rem}.time text{font:11px system-ui,sans-serif;fill:var(--ink)}.time .axis{text-anchor:middle;fill:var(--soft)}.time .k0{fill:var(--k0)}.time .k1{fill:var(--k1)}.time .k4{fill:var(--k4)}.time .say{fill:transparent}.time .tick{stroke:var(--soft);stroke-width:1}
.dim{opacity:.25}
@media(max-width:560px){main{padding:1.4rem 1rem 3rem}.row{grid-template-columns:auto 1fr}.row>.n{grid-column:2;text-align:left}}
@media print{:root{--page:#fff;--card:#fff}body{font-size:10pt}main{max-width:none;padding:0}nav,.tools{display:none}section{break-before:auto}.scroll{overflow:visible}tr,.box,.joint{break-inside:avoid}details::details-content{content-visibility:visible;display:block;height:auto}}
)css";

const char* const script = R"js(
for(const table of document.querySelectorAll("table.sort,#tensors"))table.querySelectorAll("thead th").forEach((th,k)=>{
  const button=document.createElement("button");button.type="button";button.textContent=th.textContent;th.replaceChildren(button);
  button.onclick=()=>{
    const down=th.getAttribute("aria-sort")==="ascending";
    table.querySelectorAll("thead th").forEach(x=>x.removeAttribute("aria-sort"));
    th.setAttribute("aria-sort",down?"descending":"ascending");
    const key=row=>{const c=row.cells[k];if(!c)return"";const v=c.dataset.v??(c.title.replace(" bytes","")||c.textContent).replaceAll(",","");return v.trim()!==""&&!isNaN(parseFloat(v))&&/^[\d.\s%]+$/.test(v)?parseFloat(v):v};
    const body=table.tBodies[0],rows=[...body.rows].map(r=>[key(r),r]);
    rows.sort(([a],[b])=>(typeof a==="number"&&typeof b==="number"?a-b:String(a).localeCompare(String(b)))*(down?-1:1));
    body.append(...rows.map(r=>r[1]));
  };
});
for(const input of document.querySelectorAll("input[data-for]")){
  const tools=input.closest(".tools"),rows=[...document.getElementById(input.dataset.for).tBodies[0].rows],texts=rows.map(r=>r.textContent.toLowerCase());
  tools.hidden=false;
  input.oninput=()=>{const words=input.value.toLowerCase().split(/\s+/);let n=0;rows.forEach((r,k)=>{const on=words.every(w=>texts[k].includes(w));r.hidden=!on;n+=on});tools.querySelector("output").textContent=input.value?n+" of "+rows.length:""};
}
const at=()=>{let id;try{id=decodeURIComponent(location.hash.slice(1))}catch{return}const e=document.getElementById(id);if(!e)return;for(let d=e;d;d=d.parentElement)if(d.tagName==="DETAILS")d.open=true;e.scrollIntoView()};
addEventListener("hashchange",at);at();
const save=document.getElementById("save");
if("DecompressionStream"in window){
  save.parentElement.hidden=false;save.href="#plan";
  save.onclick=async e=>{
    if(save.href.startsWith("blob:"))return;
    e.preventDefault();
    const packed=Uint8Array.from(atob(document.getElementById("plan").textContent),c=>c.charCodeAt(0));
    const text=await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).blob();
    save.href=URL.createObjectURL(text);save.click();
  };
}
addEventListener("beforeprint",()=>document.querySelectorAll("details").forEach(d=>d.open=true));
const point=d=>document.querySelectorAll("svg [data-d],.row[data-d]").forEach(e=>e.classList.toggle("dim",d!==null&&e.dataset.d!==d));
for(const e of document.querySelectorAll(".mesh .dev,.bars .dev")){e.onmouseenter=()=>point(e.dataset.d);e.onmouseleave=()=>point(null)}
)js";
}  // namespace optp::page
