/** The service starts. */
import { type Check, fail, manual, pass, skip } from './check.js'

export const boot: readonly Check[] = [
  {
    id: 'boot.listening',
    title: 'The service starts and listens',
    criterion: 'It listens within --boot-timeout and is alive half a second later.',
    needsStart: true,
    run({ boot, health, base }) {
      if (boot === undefined) return skip('attached')
      if (health?.ready !== undefined && !boot.isReady) {
        return fail({
          expected: `${health.ready} answers 200 after the start`,
          got: 'it never did, with every dependency in place',
          fix: manual('Look at what the ready route says of each dependency and start it.'),
          reproduce: `curl -i ${base}${health.ready}`,
        })
      }
      return pass(`listening after ${(boot.listeningMs / 1000).toFixed(1)} s, pid ${boot.listener}`)
    },
  },
]
