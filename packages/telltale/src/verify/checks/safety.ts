/** What must not be there. */
import { BASE, TOKEN_HEADER } from '../verify-routes.js'
import { type Check, edit, excerpt, fail, pass, unproven } from './check.js'

export const safety: readonly Check[] = [
  {
    id: 'safety.hidden',
    title: 'The verify routes do not exist without their token',
    criterion: `Started without TELLTALE_VERIFY_TOKEN, ${BASE}… is the service's own 404.`,
    needsStart: true,
    run({ untracked, exchanges, base }) {
      const { hidden, hiddenLikeMissing } = untracked ?? {}
      if (hidden === undefined || hiddenLikeMissing === undefined) {
        return unproven(untracked?.failure ?? 'the service was not started without the token')
      }
      const missing = exchanges.find(({ purpose }) => purpose === 'missing')
      const isOpen =
        (hidden.status === 200 && missing?.status !== 200) || /"kit"\s*:/.test(hidden.body)
      if (!isOpen && hidden.status === hiddenLikeMissing.status)
        return pass(`${hidden.status}, as any unknown path`)
      return fail({
        expected: `the service's own answer to unknown paths, ${missing?.status ?? 404}`,
        got: `${hidden.status} ${excerpt(hidden.body, 100)}`,
        fix: edit(
          'Answer the verify routes only when the process was started with TELLTALE_VERIFY_TOKEN and the request carries it.',
        ),
        reproduce: `curl -i -H '${TOKEN_HEADER}: anything' ${base}${BASE}whoami`,
      })
    },
  },
]
