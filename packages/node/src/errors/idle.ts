/** What stands in where nothing is recorded: before init, or when the code that would cannot be loaded. */
import type { ScopeHandle, ScopeWriter } from './scope.js'

/** Every call is accepted. */
export const IDLE_SCOPE: ScopeHandle = {
  setUser: () => IDLE_SCOPE,
  setTag: () => IDLE_SCOPE,
  setTags: () => IDLE_SCOPE,
  setContext: () => IDLE_SCOPE,
  setExtra: () => IDLE_SCOPE,
  setExtras: () => IDLE_SCOPE,
  setLevel: () => IDLE_SCOPE,
  setFingerprint: () => IDLE_SCOPE,
  addBreadcrumb: () => IDLE_SCOPE,
}

export const IDLE_WRITER: ScopeWriter = {
  user() {},
  tags() {},
  context() {},
  extras() {},
  all() {},
  handle: () => IDLE_SCOPE,
  breadcrumb: () => ({ ms: Date.now(), level: 'info', category: '', message: '', data: '' }),
}
