/**
 * The kit's own errors: one catalogue, one way out.
 *
 * Configuration faults throw at `init`, all at once. Run-time faults never reach the host: they are
 * counted and told once a minute on stderr.
 */
import { writeSync } from 'node:fs'

/** Every fault the kit can report: its stable code and what it means. `docs/errors.md` is made of it. */
export const FAULTS = {
  TELLTALE_E_OPTION: 'An option or environment variable has a value the kit cannot use.',
  TELLTALE_E_INIT_TWICE: 'init() was called again; the first call stays in force.',
  TELLTALE_E_BIND_AFTER_END: 'bind() was called after the request had ended; the line is out.',
  TELLTALE_E_LOG_ENCODE: 'A value could not be encoded; a placeholder stands in its place.',
  TELLTALE_E_LOG_WRITE: 'Standard output refused a line (closed, full or broken).',
  TELLTALE_E_LOG_DROPPED: 'Lines were dropped because standard output stalled.',
  TELLTALE_E_TRACKER: 'The error tracker refused or did not answer.',
  TELLTALE_E_TRACKER_CALLBACK: 'A callback of the application threw while an event was prepared.',
  TELLTALE_E_NO_CONTEXT: 'setUser() was called outside any request; there is no global user.',
  TELLTALE_E_SPOOL: 'The spool folder could not be read or written.',
  TELLTALE_E_METRIC: 'A metric was registered or observed with values it cannot take.',
  TELLTALE_E_SERIES_LIMIT:
    'A metric reached its limit of label sets; the rest is counted together.',
  TELLTALE_E_CLUSTER: 'Metrics of other workers or threads could not be added up.',
  TELLTALE_E_HEALTH_CHECK: 'A health check behaved in a way its contract does not allow.',
  TELLTALE_E_HEALTH_NONE:
    'No health checks are configured; readiness only says that the process runs. Pass health: { checks: { database: postgres(pool) } }.',
  TELLTALE_E_PORT: 'The management port could not be opened.',
  TELLTALE_E_SHUTDOWN: 'A closer failed or did not finish before the deadline.',
  TELLTALE_E_INTERNAL: 'A defect of the kit itself; the host was not affected. Please report it.',
} as const

/** The stable code of a fault. */
export type FaultCode = keyof typeof FAULTS

/** One thing that is wrong, with the offending value in the message and what to do about it. */
export type Fault = {
  readonly code: FaultCode
  /** What happened, naming the value. */
  readonly message: string
  /** What to do, in the imperative. */
  readonly remedy: string
}

/** Thrown by `init` and by registration calls; carries every fault found, never only the first. */
export class TelltaleError extends Error {
  override readonly name = 'TelltaleError'
  readonly code: FaultCode
  readonly faults: readonly Fault[]

  constructor(faults: readonly Fault[]) {
    super(faults.map((f) => `${f.message} ${f.remedy} [${f.code}]`).join('\n'))
    this.code = faults[0]?.code ?? 'TELLTALE_E_INTERNAL'
    this.faults = faults
  }
}

/** Renders any value for a fault's message: JSON where possible, at most 80 characters. */
export function show(value: unknown): string {
  let text: string
  try {
    text =
      typeof value === 'function'
        ? 'a function'
        : typeof value === 'bigint'
          ? `${value}n`
          : (JSON.stringify(value) ?? String(value))
  } catch {
    text = Object.prototype.toString.call(value)
  }
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

type FaultState = { count: number; reported: number; lastAtMs: number }

const REPORT_EVERY_MS = 60_000
type Shared = { readonly states: Map<FaultCode, FaultState>; clean: (text: string) => string }

// On globalThis, so that the ESM and the CJS copy of the kit count and report together.
const KEY = Symbol.for('telltale.faults.v1')
const holder = globalThis as unknown as Record<symbol, Shared | undefined>
holder[KEY] ??= { states: new Map(), clean: (text) => text }
const shared: Shared = holder[KEY]
const { states } = shared

/** Sets what takes secrets out of a fault's text: an error of the application's may quote a URL. */
export function cleanFaultsWith(clean: (text: string) => string): void {
  shared.clean = clean
}

/**
 * Reports a run-time fault. Never throws, never enters the application's log; each code is told on
 * stderr at most once a minute, with the number of times it happened since.
 */
export function reportFault(code: FaultCode, detail?: unknown): void {
  try {
    let state = states.get(code)
    if (state === undefined) {
      state = { count: 0, reported: 0, lastAtMs: Number.NEGATIVE_INFINITY }
      states.set(code, state)
    }
    state.count++
    const nowMs = performance.now()
    if (nowMs - state.lastAtMs < REPORT_EVERY_MS) return
    state.lastAtMs = nowMs
    const times = state.count - state.reported
    state.reported = state.count
    const text = detail instanceof Error ? detail.message : String(detail ?? '')
    const cleaned = text === '' ? '' : ` ${oneLine(shared.clean(text))}`
    // Not process.stderr: a closed pipe would become an error event that ends the process.
    writeSync(
      2,
      `telltale: ${code}: ${FAULTS[code]}${cleaned}${times > 1 ? ` (${times} times)` : ''}\n`,
    )
  } catch {
    // stderr may be closed as well; there is nowhere left to tell it.
  }
}

/** Runs a piece of the kit that must not reach the host: what it throws is reported as a defect of the kit. */
export function guarded(act: () => void): void {
  try {
    act()
  } catch (error) {
    reportFault('TELLTALE_E_INTERNAL', error)
  }
}

/** How often each fault happened since the process started. */
export function faultCounts(): ReadonlyMap<FaultCode, number> {
  return new Map([...states].map(([code, state]) => [code, state.count]))
}

function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: terminals act on control characters
  return text.slice(0, 500).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
}
