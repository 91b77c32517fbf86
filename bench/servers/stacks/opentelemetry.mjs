// Started by opentelemetry-preload.mjs; the application does nothing.
export {}
