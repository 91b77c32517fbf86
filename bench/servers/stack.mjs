// The observability that this server was started with: argv[2] names a module in stacks/. Imported
// before the framework, because some of them must be. Every part is optional:
//   log(event, fields, req)      a log call of the application
//   middleware(req, res, next)   node:http and Express; on Fastify from an onRequest hook
//   expressErrors(app)           after the routes of Express
//   fastify                      { options, register(app) } instead of the middleware
//   setRoute(template)           names the route where there is no framework to tell it
//   capture(error)               where there is no framework to catch it
//   startSpan(name, work)        a span of the application
//   metrics()                    text of GET /metrics, when the application has to serve it
const chosen = await import(`./stacks/${process.argv[2]}.mjs`)

export const stack = {
  log() {},
  capture() {},
  setRoute() {},
  startSpan: (_name, work) => work(),
  ...chosen,
}
