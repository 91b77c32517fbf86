// What is compared, and what each variant must be seen to do before its figures count.

/**
 * In the order in which they are measured: Express, whose budgets have most room, while V8 still
 * compiles the sink and the reader, on the CPU that the load generator needs.
 */
export const FRAMEWORKS = { express: 'express', 'node:http': 'node-http', fastify: 'fastify' }
export const WORKLOADS = { json: '/users/', work: '/work/' }

const sentry = (rate) => ({
  stack: 'sentry',
  preload: 'sentry-preload',
  env: (sink, project) => ({
    BENCH_DSN: sink.dsn(project),
    ...(rate === undefined ? {} : { BENCH_TRACES: String(rate) }),
  }),
  sends: rate > 0 ? ['errors', 'traces'] : ['errors'],
})

const telltale = {
  stack: 'telltale',
  env: (sink, project) => ({
    SENTRY_DSN: sink.dsn(project),
    SENTRY_TRACES_SAMPLE_RATE: '0.2',
    LOG_LEVEL: 'info',
    // What a tracker that hangs never took is not kept for the next bench.
    TELLTALE_SPOOL_DIR: 'false',
  }),
  lines: { json: 1, work: 3 },
  hasIds: true,
  header: true,
  metric: 'http_server_request_duration_seconds_count',
  sends: ['errors', 'traces'],
}

/**
 * By name. `stack`: module in servers/stacks; `preload`: module there for --import; `env`: more
 * environment; `stdout`: pipe or file; `lines`: log lines of one request of each workload;
 * `hasIds`: each line carries the request's id as request_id; `header`: X-Request-ID is answered;
 * `metric`: counter in GET /metrics with the route as a label; `sends`: what reaches the sink.
 */
export const VARIANTS = {
  bare: {},
  'async-local-storage': { header: true },
  'prom-client': { metric: 'http_requests_total' },
  'pino-http': {
    lines: { json: 1, work: 3 },
    fastify: { lines: { json: 2, work: 4 } },
  },
  winston: { lines: { json: 1, work: 3 } },
  evlog: { lines: { json: 1, work: 1 } },
  'sentry-errors': sentry(undefined),
  'sentry-0': sentry(0),
  'sentry-20': sentry(0.2),
  'opentelemetry-20': {
    stack: 'opentelemetry',
    preload: 'opentelemetry-preload',
    env: (sink, project) => ({
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.2',
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${sink.url}/${project}/v1/traces`,
      OTEL_METRICS_EXPORTER: 'none',
      OTEL_LOGS_EXPORTER: 'none',
    }),
    sends: ['traces'],
  },
  'hand-wired': {
    ...sentry(0.2),
    stack: 'hand-wired',
    lines: { json: 1, work: 3 },
    hasIds: true,
    header: true,
    metric: 'http_requests_total',
  },
  telltale,
  'telltale-file': { ...telltale, stdout: 'file' },
}

/** The variant as it is on one framework. */
export function variantOn(framework, name) {
  const variant = { name, stack: name, stdout: 'pipe', lines: { json: 0, work: 0 }, sends: [] }
  return { ...variant, ...VARIANTS[name], ...VARIANTS[name][framework] }
}
