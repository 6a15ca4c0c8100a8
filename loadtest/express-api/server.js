// Starts the API from its environment, and drains it on SIGTERM and SIGINT.

import { createServer } from 'node:http'
import { Server } from 'node:net'
import { buildApi } from './api.js'
import { settings as readSettings } from './settings.js'
import { SigningKeys } from './signing-keys.js'

const log = (event) => process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`)

function refuse(error) {
  console.error(error.message)
  process.exit(2)
}

let settings
try {
  settings = readSettings(process.env)
} catch (error) {
  refuse(error)
}
const keys = await SigningKeys.open(settings.keysFile, log).catch((error) => {
  refuse(new Error(`JWT_KEYS_FILE: ${error.message}; make one with \`node keys.js init FILE\``))
})
const api = buildApi(settings, keys, log)
const server = createServer(api.app)
server.on('upgrade', api.upgrade)
server.on('error', refuse)
// The backlog holds the connections of a gateway that starts all its workers at once.
server.listen({ host: settings.host, port: settings.port, backlog: 4096 }, () => {
  const { address, port } = server.address()
  log({ event: 'listening', host: address, port, region: settings.region, pid: process.pid })
})

let draining = false
async function drain(signal) {
  if (draining) return
  draining = true
  log({ event: 'draining', signal })
  const deadline = setTimeout(() => {
    server.closeAllConnections()
    api.cut() // Upgraded sockets are none of the server's "all connections", yet its close waits for them.
  }, settings.drainMs)
  // net's close, not http's: that cuts idle connections at once, and would lose a request the gateway just sent on one. They
  // end by themselves: with `Connection: close` on their next answer, or after the keep-alive timeout of 5 s.
  const closed = new Promise((resolve) => Server.prototype.close.call(server, resolve))
  api.drain()
  await closed
  clearTimeout(deadline)
  await api.close()
  log({ event: 'stopped' })
  process.exit(0) // Nothing is left to wait for but timers.
}
process.on('SIGTERM', drain)
process.on('SIGINT', drain)
