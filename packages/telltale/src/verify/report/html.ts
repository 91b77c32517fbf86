/** The report as one HTML file: offline, no script, nothing loaded from anywhere. */
import type { Status } from '../checks/check.js'
import { placeText } from '../checks/logs.js'
import { html } from './escape.js'
import type { Report, ReportedCheck, Timeline } from './report.js'
import { renderTimeline } from './timeline.js'

const WORDS: Readonly<Record<Status, string>> = {
  pass: 'passed',
  fail: 'failed',
  skip: 'skipped',
  unproven: 'unproven',
  error: 'not judged',
}

export function renderHtml(report: Report, timeline: Timeline): string {
  const { summary, service } = report
  const isWell = report.exitCode === 0
  const headline = isWell
    ? `${summary.pass} of ${summary.total} promises kept`
    : `${summary.fail + summary.error} of ${summary.total} promises broken`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${html(`${service.command || service.url}: ${headline}`)}</title>
<style>${STYLE}</style>
</head>
<body>
<header class="${isWell ? 'well' : 'unwell'}">
<p class="tool">telltale verify</p>
<h1>${html(headline)}</h1>
<p><code>${html(service.command || service.url)}</code> · ${html(service.url)}${service.kit === undefined ? '' : ` · ${html(service.kit)}`} · ${html(report.startedAt.replace('T', ' ').slice(0, 16))} UTC · ${(report.durationMs / 1000).toFixed(1)} s</p>
<ul class="counts">${(Object.keys(WORDS) as Status[])
    .filter((status) => summary[status] > 0)
    .map((status) => `<li class="${status}"><b>${summary[status]}</b> ${WORDS[status]}</li>`)
    .join('')}</ul>
</header>
<main>
<section>
<h2>The run</h2>
<figure>${renderTimeline(timeline)}
<figcaption><i class="up"></i> ready 200 <i class="down"></i> ready 503 <i class="cut"></i> dependency cut <i class="dot s2"></i> 2xx, 3xx <i class="dot s4"></i> 4xx <i class="dot s5"></i> 5xx <i class="dot lost"></i> no answer <i class="event"></i> error event. Point at anything to read it.</figcaption></figure>
</section>
${section('The recipe', 'What everybody checks by hand.', report, 'recipe')}
${section('Beyond', 'What shows itself only when it is too late.', report, 'beyond')}
</main>
<footer>telltale ${html(report.tool.version)}. Planted secrets were made up; traffic stayed on this machine.</footer>
</body>
</html>
`
}

function section(
  title: string,
  lead: string,
  report: Report,
  group: ReportedCheck['group'],
): string {
  const checks = report.checks.filter((check) => check.group === group)
  if (checks.length === 0) return ''
  return `<section>
<h2>${title}</h2>
<p class="lead">${lead}</p>
<ol>${checks.map((check) => renderCheck(check, report.service.cwd)).join('\n')}</ol>
</section>`
}

function renderCheck(check: ReportedCheck, cwd: string): string {
  const { id, title, criterion, status, detail, expected, got, evidence, cause, fix, reproduce } =
    check
  const row = (name: string, content: string): string => `<dt>${name}</dt><dd>${content}</dd>`
  const rows = [
    expected === undefined ? '' : row('expected', html(expected)),
    got === undefined ? '' : row('got', `<strong>${html(got)}</strong>`),
    evidence === undefined || evidence.length === 0
      ? ''
      : row('evidence', evidence.map((text) => `<pre>${html(text)}</pre>`).join('')),
    cause === undefined ? '' : row('cause', `<code>${html(placeText(cwd, cause))}</code>`),
    fix === undefined ? '' : row('fix', html(fix.text)),
    reproduce === undefined ? '' : row('reproduce', `<pre>${html(reproduce)}</pre>`),
  ].join('')
  return `<li class="${status}" id="${html(id)}">
<h3>${html(title)} <code>${html(id)}</code> <span>${WORDS[status]}</span></h3>
<p>${html(detail ?? criterion)}</p>${rows === '' ? '' : `<dl>${rows}</dl>`}
</li>`
}

const STYLE = `
:root { color-scheme: light dark; --ink: #16202b; --dim: #5b6875; --line: #dfe4ea; --page: #fff; --soft: #f5f7f9;
  --green: #17803d; --red: #c62828; --amber: #b26a00; --blue: #2361b8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --dim: #98a4b0; --line: #2c3641; --page: #11171d; --soft: #19212a;
  --green: #4cc274; --red: #ff7b72; --amber: #e3a44a; --blue: #79aefc; } }
* { box-sizing: border-box }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page) }
header, main, footer { max-width: 1112px; margin: 0 auto; padding: 0 16px }
header { padding-top: 36px; border-top: 6px solid var(--green) }
header.unwell { border-top-color: var(--red) }
header p { color: var(--dim); margin: 4px 0 }
.tool { text-transform: uppercase; letter-spacing: .08em; font-size: 12px }
h1 { margin: 0; font-size: 32px; line-height: 1.2 }
h2 { margin: 40px 0 4px; font-size: 20px }
.lead { margin: 0 0 12px; color: var(--dim) }
code, pre { font: 13px/1.45 ui-monospace, monospace }
.counts { display: flex; gap: 20px; list-style: none; margin: 14px 0 0; padding: 0 }
.counts b { font-size: 22px }
.pass b, .pass span { color: var(--green) } .fail b, .fail span, .error b, .error span { color: var(--red) }
.unproven b, .unproven span { color: var(--amber) } .skip b, .skip span { color: var(--dim) }
figure { margin: 8px 0; padding: 8px 0; overflow-x: auto; border: 1px solid var(--line); border-radius: 8px }
svg { display: block; width: 100%; min-width: 760px }
figcaption { padding: 4px 16px 8px; color: var(--dim); font-size: 13px }
figcaption i { display: inline-block; width: 14px; height: 10px; margin: 0 3px 0 12px; border-radius: 2px }
figcaption .dot { width: 9px; height: 9px; border-radius: 50% }
figcaption .up, .up { background: var(--green); fill: var(--green) }
figcaption .down, .down { background: var(--red); fill: var(--red) }
figcaption .cut, .cut { background: var(--amber); fill: var(--amber) }
.none { fill: var(--dim) } .s2 { background: var(--blue); fill: var(--blue) } .s4 { background: var(--amber); fill: var(--amber) }
.s5 { background: var(--red); fill: var(--red) } .lost { background: var(--ink); fill: var(--ink) }
circle { fill-opacity: .65 } figcaption .event { background: var(--red); width: 2px } path.event { stroke: var(--red); stroke-opacity: .7 }
.phase { fill: var(--line) } .phase.p1 { fill: var(--soft); stroke: var(--line) } .grid { stroke: var(--line); stroke-width: .6 }
.signal { stroke: var(--ink); stroke-dasharray: 3 3 }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim) } .name { text-anchor: end; font-weight: 600 }
.tick { text-anchor: middle } .tick.left { text-anchor: end; font-size: 9px } .flag { fill: var(--ink) }
ol { list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--line) }
li[id] { padding: 9px 0; border-bottom: 1px solid var(--line) }
h3 { margin: 0; font-size: 15px; font-weight: 600; display: flex; gap: 10px; align-items: baseline }
h3 code { color: var(--dim); font-weight: 400 } h3 span { margin-left: auto; font-size: 13px }
li p { margin: 0; color: var(--dim); font-size: 14px; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: 92px minmax(0, 1fr); gap: 6px 12px; margin: 10px 0 4px; padding: 12px; background: var(--soft); border-radius: 8px }
dt { color: var(--dim) } dd { margin: 0; overflow-wrap: anywhere } dd strong { color: var(--red); font-weight: 600 }
pre { margin: 0 0 4px; white-space: pre-wrap; overflow-wrap: anywhere }
footer { padding: 32px 16px; color: var(--dim); font-size: 13px }
@media print { figure { overflow: visible } li[id] { break-inside: avoid } }
`
