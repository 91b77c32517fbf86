/** The route template of a request, as far as its framework tells it. */
export function routeOf(req) {
  return req.route?.path ?? req.template ?? 'unmatched'
}
