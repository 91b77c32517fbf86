/** Planted secrets and the passwords of the environment come out nowhere. */
import { formsOf } from '../canaries.js'
import type { Evidence } from '../evidence.js'
import type { Exchange } from '../http.js'
import { curlOf } from '../reproduce.js'
import { type Check, count, edit, excerpt, fail, pass, unproven, unreadReason } from './check.js'

/** `at`: when it came; `exchange`: the answer that it is. */
type Source = {
  readonly where: string
  readonly text: string
  readonly at?: number
  readonly exchange?: Exchange
}

export const secrets: readonly Check[] = [
  {
    id: 'secret.none',
    title: 'Secrets come out nowhere',
    criterion:
      '12 planted secrets and the passwords of the environment are in no line, event, metric or health answer: raw, base64, URL-encoded.',
    run(evidence) {
      const { canaries, knownSecrets, capture, tracker } = evidence
      const sources = sourcesOf(evidence)
      if (capture.lines.length === 0 && tracker.items.length === 0) {
        return unproven(
          'nothing was printed and nothing was sent: there is nowhere a secret could be',
        )
      }
      const all = [...canaries.all, ...knownSecrets]
      const leaks: (Source & { place: string; form: string })[] = []
      for (const { place, value } of all) {
        const forms = formsOf(value)
        for (const source of sources) {
          const form = forms.find((one) => source.text.includes(one))
          if (form === undefined) continue
          leaks.push({ ...source, place, form })
          break
        }
      }
      const [first] = leaks
      const unread = unreadReason(evidence)
      if (first === undefined && unread !== undefined) return unproven(unread)
      if (first === undefined)
        return pass(`${count(all.length, 'secret')}, ${count(sources.length, 'text')} searched`)
      return fail({
        expected: 'no secret anywhere',
        got: leaks.map(({ place, where }) => `${place} in ${where}`).join('; '),
        evidence: leaks.slice(0, 4).map(({ text, form }) => excerpt(around(text, form))),
        fix: edit(
          'Redact by key (password, token, authorization, cookie, …) and by value, in lines and in events alike; never log a body or a query string whole. The kit does both.',
        ),
        ...reproduceLeak(evidence, leaks),
      })
    },
  },
]

function sourcesOf({ capture, tracker, exchanges, metrics, crashes }: Evidence): Source[] {
  return [
    ...capture.lines.map(({ stream, text, at }) => ({ where: `a line on ${stream}`, text, at })),
    ...tracker.items.map(({ type, bytes, at }) => ({
      at,
      where: type === 'event' ? 'an event' : `a ${type} at the tracker`,
      text: bytes.toString(),
    })),
    ...exchanges
      .filter(({ purpose }) => ['ready', 'live', 'scrape'].includes(purpose))
      .map((exchange) => ({
        where: `the answer of ${exchange.path}`,
        text: exchange.body,
        exchange,
      })),
    ...(metrics === undefined ? [] : [{ where: 'the metrics', text: metrics.afterMissing }]),
    ...(crashes ?? []).flatMap(({ records }) =>
      records.map(({ text }) => ({ where: 'a line of the crashed process', text })),
    ),
  ]
}

/** The request after which a secret came out: the answer itself, or what carried the secret there. */
function reproduceLeak(
  { exchanges, base }: Evidence,
  leaks: readonly (Source & { readonly form: string })[],
): { readonly reproduce?: string } {
  for (const { exchange, at, form } of leaks) {
    const carrying = (one: Exchange): boolean =>
      `${one.path}${one.sentBody}${Object.values(one.sent).join('\n')}`.includes(form)
    const cause =
      exchange ?? exchanges.findLast((one) => at !== undefined && one.at <= at && carrying(one))
    if (cause !== undefined) return { reproduce: curlOf(base, cause, true) }
  }
  return {}
}

function around(text: string, form: string): string {
  const at = text.indexOf(form)
  return text.slice(Math.max(0, at - 120), at + form.length + 60)
}
