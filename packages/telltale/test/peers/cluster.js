// The service in two processes that share a port; whichever dies is started again.
const cluster = require('node:cluster')

if (cluster.isPrimary) {
  require('./kit.js')
  cluster.fork()
  cluster.fork()
  cluster.on('exit', (worker) => {
    if (!worker.exitedAfterDisconnect) cluster.fork()
  })
} else require('./dist/service.js')
