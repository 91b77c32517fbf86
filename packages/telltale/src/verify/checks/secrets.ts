/** Planted secrets and the passwords of the environment come out nowhere. */
import { formsOf } from '../canaries.js'
import type { Evidence } from '../evidence.js'
import { type Check, count, edit, excerpt, fail, pass, unproven, unreadReason } from './check.js'

type Source = { readonly where: string; readonly text: string }

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
      const leaks: { place: string; where: string; text: string; form: string }[] = []
      for (const { place, value } of all) {
        const forms = formsOf(value)
        for (const { where, text } of sources) {
          const form = forms.find((one) => text.includes(one))
          if (form === undefined) continue
          leaks.push({ place, where, text, form })
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
      })
    },
  },
]

function sourcesOf({ capture, tracker, exchanges, metrics, crashes }: Evidence): Source[] {
  return [
    ...capture.lines.map(({ stream, text }) => ({ where: `a line on ${stream}`, text })),
    ...tracker.items.map(({ type, bytes }) => ({
      where: type === 'event' ? 'an event' : `a ${type} at the tracker`,
      text: bytes.toString(),
    })),
    ...exchanges
      .filter(({ purpose }) => ['ready', 'live', 'scrape'].includes(purpose))
      .map(({ path, body }) => ({ where: `the answer of ${path}`, text: body })),
    ...(metrics === undefined ? [] : [{ where: 'the metrics', text: metrics.afterMissing }]),
    ...(crashes ?? []).flatMap(({ records }) =>
      records.map(({ text }) => ({ where: 'a line of the crashed process', text })),
    ),
  ]
}

function around(text: string, form: string): string {
  const at = text.indexOf(form)
  return text.slice(Math.max(0, at - 120), at + form.length + 60)
}
