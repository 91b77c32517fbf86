// The SDK with every auto-instrumentation, spans by OTLP/HTTP protobuf (its defaults); endpoint,
// sampler and the exporters that are off come from OTEL_* variables.
import { register } from 'node:module'

register('@opentelemetry/instrumentation/hook.mjs', import.meta.url)
const { NodeSDK } = await import('@opentelemetry/sdk-node')
const { getNodeAutoInstrumentations } = await import('@opentelemetry/auto-instrumentations-node')
new NodeSDK({ instrumentations: [getNodeAutoInstrumentations()] }).start()
