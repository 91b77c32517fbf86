/** For information: what tracking costs. */
import { median } from '../percentile.js'
import { type Check, pass, skip } from './check.js'

export const overhead: readonly Check[] = [
  {
    id: 'overhead',
    title: 'What tracking costs',
    criterion: 'The median of small requests with and without a tracker; never fails.',
    needsStart: true,
    isInformation: true,
    run({ metrics, untracked, exchanges }) {
      const tracked = exchanges.filter(
        ({ purpose }) => purpose === (metrics === undefined ? 'missing' : 'counted'),
      )
      const without = untracked?.ordinary ?? []
      if (tracked.length === 0 || without.length === 0) return skip('nothing to compare')
      const ms = (list: readonly { ms: number }[]): string =>
        median(list.map((one) => one.ms)).toFixed(1)
      return pass(
        `median ${ms(tracked)} ms with a tracker, ${ms(without)} ms without, on this machine as it is now`,
      )
    },
  },
]
