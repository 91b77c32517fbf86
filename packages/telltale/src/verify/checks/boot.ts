/** The service starts. */
import { type Check, pass, skip } from './check.js'

export const boot: readonly Check[] = [
  {
    id: 'boot.listening',
    title: 'The service starts and listens',
    criterion: 'It listens within --boot-timeout and is alive half a second later.',
    needsStart: true,
    run({ boot }) {
      if (boot === undefined) return skip('attached')
      return pass(`listening after ${(boot.listeningMs / 1000).toFixed(1)} s, pid ${boot.listener}`)
    },
  },
]
