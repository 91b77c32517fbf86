/** The run as a picture: phases, readiness as a strip, cuts, requests by how long they took, events. */
import { html } from './escape.js'
import type { Timeline } from './report.js'

const WIDTH = 1080
const LEFT = 92
const RIGHT = 16
const PLOT = WIDTH - LEFT - RIGHT
const ROWS = { phases: 24, ready: 62, cuts: 98, requests: 132, events: 262 } as const
const BAR = 18
const REQUESTS_HEIGHT = 112
const HEIGHT = 322
/** The latency axis is logarithmic, from 1 ms to 10 s. */
const DECADES = 4
const MAX_DOTS = 4000

export function renderTimeline(timeline: Timeline): string {
  const total = Math.max(1, timeline.durationMs)
  const x = (at: number): number => LEFT + (Math.min(Math.max(at, 0), total) / total) * PLOT
  const parts: string[] = []
  const bar = (from: number, until: number, y: number, kind: string, title: string): void => {
    const width = Math.max(1, x(until) - x(from))
    parts.push(
      `<rect class="${kind}" x="${n(x(from))}" y="${y}" width="${n(width)}" height="${BAR}"><title>${html(title)}</title></rect>`,
    )
  }
  const label = (name: string, y: number): void => {
    parts.push(`<text class="name" x="${LEFT - 10}" y="${y + 13}">${name}</text>`)
  }

  // The grid, in whole seconds.
  const step = [1, 2, 5, 10, 20, 30, 60].find((s) => total / 1000 / s <= 12) ?? 120
  for (let second = 0; second * 1000 <= total; second += step) {
    const at = n(x(second * 1000))
    parts.push(
      `<line class="grid" x1="${at}" x2="${at}" y1="20" y2="${HEIGHT - 22}"/>`,
      `<text class="tick" x="${at}" y="${HEIGHT - 6}">${second} s</text>`,
    )
  }

  label('phases', ROWS.phases)
  for (const [index, mark] of timeline.marks.filter(({ kind }) => kind === 'phase').entries()) {
    const { at, until = at, label: what } = mark
    bar(at, until, ROWS.phases, `phase p${index % 2}`, `${what}: ${seconds(until - at)}`)
    const room = x(until) - x(at)
    if (room > what.length * 6.2) {
      parts.push(
        `<text class="inside" x="${n(x(at) + 5)}" y="${ROWS.phases + 13}">${html(what)}</text>`,
      )
    }
  }

  label('ready', ROWS.ready)
  const probes = timeline.requests
    .filter(({ purpose }) => purpose === 'ready')
    .sort((a, b) => a.at - b.at)
  for (const [index, probe] of probes.entries()) {
    const next = probes[index + 1]
    // A strip holds until it was asked again, but not across a silence.
    const until = Math.min(next?.at ?? total, probe.at + Math.max(probe.ms, 1000))
    const state = probe.status === 200 ? 'up' : probe.status === 503 ? 'down' : 'none'
    bar(
      probe.at,
      until,
      ROWS.ready,
      state,
      `ready: ${probe.status || 'no answer'} at ${seconds(probe.at)}`,
    )
  }

  label('cuts', ROWS.cuts)
  let flags = 0
  for (const { at, until = at, kind, label: what } of timeline.marks) {
    if (kind === 'cut') bar(at, until, ROWS.cuts, 'cut', `${what}, ${seconds(until - at)}`)
    if (kind === 'signal') {
      parts.push(
        `<path class="signal" d="M${n(x(at))} 20V${HEIGHT - 22}"><title>${html(`${what} at ${seconds(at)}`)}</title></path>`,
        `<text class="flag" x="${n(Math.min(x(at) + 4, WIDTH - 90))}" y="${ROWS.cuts + 13 + (flags++ % 2) * 13}">${html(what)}</text>`,
      )
    }
  }

  label('requests', ROWS.requests)
  for (let decade = 0; decade <= DECADES; decade++) {
    const y = ROWS.requests + REQUESTS_HEIGHT - (decade / DECADES) * REQUESTS_HEIGHT
    const ms = 10 ** decade
    parts.push(
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${n(y)}" y2="${n(y)}"/>`,
      `<text class="tick left" x="${LEFT - 10}" y="${n(y + 3)}">${decade === DECADES ? '' : ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`}</text>`,
    )
  }
  const every = Math.ceil(timeline.requests.length / MAX_DOTS)
  for (const [index, { at, ms, status, what }] of timeline.requests.entries()) {
    if (index % every !== 0) continue
    const share = Math.min(1, Math.max(0, Math.log10(Math.max(ms, 1)) / DECADES))
    const y = ROWS.requests + REQUESTS_HEIGHT - share * REQUESTS_HEIGHT
    const kind = status === 0 ? 'lost' : status >= 500 ? 's5' : status >= 400 ? 's4' : 's2'
    parts.push(
      `<circle class="${kind}" cx="${n(x(at))}" cy="${n(y)}" r="2.2"><title>${html(`${what.slice(0, 120)}: ${status || 'no answer'}, ${ms.toFixed(1)} ms`)}</title></circle>`,
    )
  }

  label('events', ROWS.events)
  for (const { at, what } of timeline.events.slice(0, MAX_DOTS)) {
    const left = n(x(at))
    parts.push(
      `<path class="event" d="M${left} ${ROWS.events}v${BAR}"><title>${html(`${what.slice(0, 200)} at ${seconds(at)}`)}</title></path>`,
    )
  }
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Timeline of the run">${parts.join('')}</svg>`
}

const n = (value: number): string => value.toFixed(1)
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`
