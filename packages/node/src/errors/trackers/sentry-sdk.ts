/**
 * Hands captures to the official Sentry SDK when the application itself has started it, so that
 * every error is reported once, by that client, with the application's own settings.
 *
 * The SDK keeps its state in `globalThis.__SENTRY__`, one entry per exact version. Only public
 * methods are used, found by shape, so that no version can break the application: what does not
 * look right is not used.
 */
import { AsyncResource } from 'node:async_hooks'
import { reportFault } from '../../faults.js'
import type { ErrorEvent, ErrorTracker } from '../tracker.js'

type SdkEvent = Record<string, unknown>
type SdkScope = {
  clone?(): SdkScope
  getClient?(): unknown
  addEventProcessor?(processor: (event: SdkEvent) => SdkEvent): unknown
}
type SdkClient = {
  captureException(exception: unknown, hint?: object, scope?: SdkScope): string
  captureEvent(event: object, hint?: object, scope?: SdkScope): string
  flush(timeoutMs?: number): PromiseLike<boolean>
  getDsn(): unknown
  getOptions?(): { enabled?: boolean }
  getIntegrationByName?(name: string): unknown
}
type Found = { readonly client: SdkClient; readonly scope: SdkScope | undefined }
type Carrier = {
  acs?: { getCurrentScope?(): SdkScope }
  stack?: { getScope?(): SdkScope; getClient?(): unknown }
  defaultCurrentScope?: SdkScope
}

/** True when the application has started the official SDK with a DSN. Cheap; ask again at any time. Never throws. */
export function hasSentryClient(): boolean {
  return find() !== undefined
}

/**
 * True when that SDK handles uncaught exceptions and unhandled rejections itself, so that the kit
 * installs no handlers of its own. Never throws.
 */
export function sentryHandlesCrashes(): boolean {
  try {
    const client = find()?.client
    return (
      client?.getIntegrationByName?.('OnUncaughtException') !== undefined &&
      client.getIntegrationByName('OnUnhandledRejection') !== undefined
    )
  } catch {
    return false
  }
}

/**
 * A tracker over the application's own Sentry client; undefined when there is none.
 *
 * The original exception goes through the SDK's own capture, which marks it, so that neither side
 * reports it a second time; the event's content is the kit's: scrubbed, with its user, tags and
 * request, completed by what the SDK adds. The client is looked up anew for each event, because an
 * application may replace it. Its transport is the application's: close() only flushes.
 */
export function findSentryClient(): ErrorTracker | undefined {
  if (find() === undefined) return undefined
  const losses: Record<string, number> = {}
  async function flush(timeoutMs: number): Promise<boolean> {
    try {
      return (await find()?.client.flush(timeoutMs)) ?? true
    } catch {
      return false
    }
  }
  return {
    name: 'sentry-sdk',
    capture(event, hint) {
      try {
        const found = find()
        if (found !== undefined) hand(found, event, hint.originalException)
        else losses.internal_sdk_error = (losses.internal_sdk_error ?? 0) + 1
      } catch (error) {
        losses.internal_sdk_error = (losses.internal_sdk_error ?? 0) + 1
        reportFault('TELLTALE_E_TRACKER', error)
      }
    },
    flush,
    close: flush,
    losses: () => ({ ...losses }),
  }
}

/**
 * The tracker of an application that may have a Sentry client of its own, now or later: that client
 * from the moment it is active, before it the one that `makeOwn` makes at its first use, or when
 * `prepare` is called. Traces and sessions are left to that client too.
 */
export function preferSentryClient(makeOwn: (() => ErrorTracker) | undefined): ErrorTracker {
  // Whatever is made for the first request that is told must not hold that request's context.
  const outside = new AsyncResource('TelltaleTracker')
  let own: ErrorTracker | undefined
  function prepare(): ErrorTracker | undefined {
    if (makeOwn !== undefined) own ??= outside.runInAsyncScope(makeOwn)
    return own
  }
  let found = findSentryClient()
  function chosen(): ErrorTracker | undefined {
    if (!hasSentryClient()) return own ?? prepare()
    found ??= findSentryClient()
    return found
  }
  const both = (act: (tracker: ErrorTracker) => Promise<boolean>): Promise<boolean> =>
    Promise.all([own, found].map((tracker) => tracker && act(tracker))).then(
      (results) => !results.includes(false),
    )
  const tracker: ErrorTracker = {
    name: makeOwn === undefined ? 'sentry-sdk' : 'sentry',
    capture: (event, hint) => chosen()?.capture(event, hint),
    flush: (timeoutMs) => both((tracker) => tracker.flush(timeoutMs)),
    close: (timeoutMs) => both((tracker) => tracker.close(timeoutMs)),
    losses: () => ({ ...own?.losses?.(), ...found?.losses?.() }),
  }
  // Without an own one there is nothing to sample, count or spool for.
  if (makeOwn === undefined) return { ...tracker, isActive: hasSentryClient }
  return {
    ...tracker,
    refusesTransaction() {
      const one = chosen()
      return one?.transaction === undefined || one.refusesTransaction?.() === true
    },
    transaction: (json) => chosen()?.transaction?.(json),
    span: (json) => chosen()?.span?.(json),
    checkIn: (json) => chosen()?.checkIn?.(json),
    sessions: (json) => chosen()?.sessions?.(json),
    spoolSync: () => own?.spoolSync?.(),
    prepare,
  }
}

function hand({ client, scope }: Found, event: ErrorEvent, original: unknown): void {
  const hint = { event_id: event.event_id, originalException: original }
  const own = scope?.clone?.()
  if (event.exception === undefined || own?.addEventProcessor === undefined) {
    client.captureEvent(sdkEventOf(event), hint, own)
    return
  }
  // Processors of the scope run after the SDK's integrations: the kit's content has the last word.
  own.addEventProcessor((made) => merge(made, event))
  client.captureException(original, hint, own)
}

/** The kit's event as the SDK holds one: breadcrumbs are a plain list, and the sender is the SDK. */
function sdkEventOf({ sdk: _sdk, breadcrumbs, ...event }: ErrorEvent): SdkEvent {
  if (breadcrumbs === undefined) return event
  // captureEvent may have been given a list.
  return { ...event, breadcrumbs: Array.isArray(breadcrumbs) ? breadcrumbs : breadcrumbs.values }
}

function merge(made: SdkEvent, event: ErrorEvent): SdkEvent {
  const ours = sdkEventOf(event)
  return {
    ...made,
    ...ours,
    tags: { ...(made.tags as object | undefined), ...event.tags },
    extra: { ...(made.extra as object | undefined), ...event.extra },
    contexts: { ...(made.contexts as object | undefined), ...event.contexts },
    user: { ...(made.user as object | undefined), ...event.user },
  }
}

function find(): Found | undefined {
  try {
    const carriers = (globalThis as { __SENTRY__?: Record<string, unknown> }).__SENTRY__
    if (typeof carriers !== 'object' || carriers === null) return undefined
    for (const carrier of Object.values(carriers)) {
      if (typeof carrier !== 'object' || carrier === null) continue
      const found = findIn(carrier)
      if (found !== undefined) return found
    }
  } catch {
    // A version whose state looks different: as if there were none.
  }
  return undefined
}

function findIn(carrier: Carrier): Found | undefined {
  const candidates = [
    carrier.acs?.getCurrentScope?.(),
    carrier.stack?.getScope?.(),
    carrier.defaultCurrentScope,
  ]
  for (const scope of candidates) {
    const client = scope?.getClient?.()
    if (isActive(client)) return { client, scope }
  }
  // Version 7 kept the client in a hub.
  const client = (carrier.stack ?? (carrier as Carrier['stack']))?.getClient?.()
  return isActive(client) ? { client, scope: undefined } : undefined
}

function isActive(client: unknown): client is SdkClient {
  const one = client as Partial<SdkClient> | null | undefined
  return (
    typeof one?.captureException === 'function' &&
    typeof one.captureEvent === 'function' &&
    typeof one.flush === 'function' &&
    one.getDsn?.() !== undefined &&
    one.getOptions?.().enabled !== false
  )
}
